//! D-Bus messages as bytes and back.
//!
//! The wire format is zbus's; here is only which fields a message of ours has ("Message Format" of the D-Bus
//! specification).

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde::ser::{Serialize, SerializeStruct, Serializer};
use zbus::wire::serialized::{self, Data};
use zbus::wire::{Endian, to_bytes};
use zbus::{ObjectPath, OwnedVariant, Signature, Type, Variant};

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
const PROTOCOL: u8 = 1;
/// The part of the header that has the lengths of everything else.
pub const PRIMARY: usize = 16;
/// The specification allows 128 MiB; no answer of systemd to us comes near this.
const LONGEST: usize = 16 << 20;

/// Header fields by number.
mod field {
    pub const PATH: u8 = 1;
    pub const INTERFACE: u8 = 2;
    pub const MEMBER: u8 = 3;
    pub const ERROR_NAME: u8 = 4;
    pub const REPLY_SERIAL: u8 = 5;
    pub const DESTINATION: u8 = 6;
    pub const SIGNATURE: u8 = 8;
}

/// A method to call.
#[derive(Debug, Clone, Copy)]
pub struct Method<'a> {
    /// `None` on a connection without a bus between.
    pub destination: Option<&'static str>,
    pub path: &'a str,
    pub interface: &'a str,
    pub member: &'static str,
}

/// A message that has come in.
#[derive(Debug)]
pub struct Message {
    pub kind: Kind,
    body: Vec<u8>,
    endian: Endian,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Kind {
    /// To the call of this serial.
    Return(u32),
    Error {
        serial: u32,
        name: String,
    },
    Signal {
        member: String,
    },
    /// A call of somebody, or a type that does not exist yet.
    Other,
}

/// One header field; a body's signature is that of its parts and not, as a variant's would be, of a structure.
#[derive(Debug)]
enum Field<'a> {
    Variant(Variant<'a>),
    Signature(&'a str),
}

impl Type for Field<'_> {
    const SIGNATURE: &'static Signature = &Signature::Variant;
}

impl Serialize for Field<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Field::Variant(value) => value.serialize(serializer),
            Field::Signature(text) => {
                let mut variant = serializer.serialize_struct("Variant", 2)?;
                variant.serialize_field("signature", &Signature::Signature)?;
                variant.serialize_field("value", text)?;
                variant.end()
            }
        }
    }
}

/// The bytes of a call; `serial` is not 0.
pub fn call<T: Serialize + zbus::wire::DynamicType>(method: &Method, serial: u32, body: &T) -> Result<Vec<u8>> {
    let path = ObjectPath::try_from(method.path).context("object path")?;
    let mut fields = vec![
        (field::PATH, Field::Variant(Variant::from(path))),
        (field::MEMBER, Field::Variant(Variant::from(method.member))),
        (field::INTERFACE, Field::Variant(Variant::from(method.interface))),
    ];
    fields.extend(method.destination.map(|name| (field::DESTINATION, Field::Variant(Variant::from(name)))));
    let signature = body.signature().to_string_no_parens();
    if !signature.is_empty() {
        fields.push((field::SIGNATURE, Field::Signature(&signature)));
    }
    let body = to_bytes(context(Endian::native(), 0), body).context("encode the arguments")?;
    let mark = match Endian::native() {
        Endian::Little => b'l',
        Endian::Big => b'B',
    };
    let length = u32::try_from(body.len()).context("arguments")?;
    let header = (mark, METHOD_CALL, 0u8, PROTOCOL, length, serial, fields);
    let mut bytes = to_bytes(context(Endian::native(), 0), &header).context("encode the header")?.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn context(endian: Endian, position: usize) -> serialized::Context {
    serialized::Context::new(endian, position)
}

/// The lengths of header and body of the message that starts so; `None`: there are less than [`PRIMARY`] bytes.
fn lengths(bytes: &[u8]) -> Result<Option<(Endian, usize, usize)>> {
    let Some(primary) = bytes.first_chunk::<PRIMARY>() else { return Ok(None) };
    let endian = match primary[0] {
        b'l' => Endian::Little,
        b'B' => Endian::Big,
        other => bail!("a message starts with {other:#x}"),
    };
    let number = |at: usize| {
        let bytes = [primary[at], primary[at + 1], primary[at + 2], primary[at + 3]];
        let number = if endian == Endian::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        number as usize
    };
    let (header, body) = ((PRIMARY + number(12)).next_multiple_of(8), number(4));
    if header.saturating_add(body) > LONGEST {
        bail!("a message has {} bytes", header.saturating_add(body));
    }
    Ok(Some((endian, header, body)))
}

impl Message {
    /// Takes the first message off the buffer, if it is there as a whole.
    pub fn take(buffer: &mut Vec<u8>) -> Result<Option<Message>> {
        let Some((endian, header, body)) = lengths(buffer)? else { return Ok(None) };
        if buffer.len() < header + body {
            return Ok(None);
        }
        let rest = buffer.split_off(header + body);
        let mut head = std::mem::replace(buffer, rest);
        let body = head.split_off(header);
        let kind = kind(&head, endian).context("read a message header")?;
        Ok(Some(Message { kind, body, endian }))
    }

    /// The body as its parts, of which there may be more.
    pub fn body<T: DeserializeOwned + Type>(&self) -> Result<T> {
        let data = Data::new(self.body.as_slice(), context(self.endian, 0));
        data.deserialize::<T>().map(|(value, _)| value).context("read a message")
    }

    /// What an error says: by convention a string comes first.
    pub fn text(&self) -> String {
        self.body::<String>().unwrap_or_default()
    }
}

fn kind(header: &[u8], endian: Endian) -> Result<Kind> {
    type Header = (u8, u8, u8, u8, u32, u32, Vec<(u8, OwnedVariant)>);
    let data = Data::new(header, context(endian, 0));
    let ((_, kind, _, protocol, _, _, fields), _) = data.deserialize::<Header>()?;
    if protocol != PROTOCOL {
        bail!("protocol version {protocol}");
    }
    let find = |number| fields.iter().find(|(n, _)| *n == number).map(|(_, value)| &**value);
    let text = |number| match find(number) {
        Some(Variant::Str(text)) => Ok(text.to_string()),
        _ => bail!("field {number} is missing"),
    };
    let serial = || match find(field::REPLY_SERIAL) {
        Some(Variant::U32(serial)) => Ok(*serial),
        _ => bail!("a reply without a serial"),
    };
    Ok(match kind {
        METHOD_RETURN => Kind::Return(serial()?),
        ERROR => Kind::Error { serial: serial()?, name: text(field::ERROR_NAME)? },
        SIGNAL => Kind::Signal { member: text(field::MEMBER)? },
        _ => Kind::Other,
    })
}
