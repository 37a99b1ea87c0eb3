//! POSIX ACLs as text, which GNU tar and bsdtar write with `--acls`: `user::rw-,user:bin:r--:2,group::r--,…`.
//!
//! The kernel takes them as extended attributes (`linux/posix_acl_xattr.h`): a version, then tag, permissions and id of
//! each entry, little-endian, sorted by tag and id.

const VERSION: u32 = 2;
const NO_ID: u32 = u32::MAX;

/// The value of the attribute; `None` if the text is no ACL, or names somebody without a number (what the name means is
/// the affair of the machine that it comes from).
pub fn to_xattr(text: &str) -> Option<Vec<u8>> {
    let mut entries = text
        .split([',', '\n'])
        .map(|entry| entry.split('#').next().unwrap_or("").trim())
        .filter(|entry| !entry.is_empty())
        .map(entry)
        .collect::<Option<Vec<_>>>()?;
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let mut value = VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    Some(value)
}

fn entry(text: &str) -> Option<(u16, u16, u32)> {
    let fields: Vec<&str> = text.split(':').collect();
    let [kind, name, permissions, ..] = fields[..] else { return None };
    // star writes the number after the permissions; GNU tar has it in the place of a name when asked for numbers.
    let number = fields.get(3).copied().unwrap_or(name);
    let id = || number.parse().ok().filter(|id| *id != NO_ID);
    let (tag, id) = match (kind, name.is_empty()) {
        ("user" | "u", true) => (0x01, NO_ID),
        ("user" | "u", false) => (0x02, id()?),
        ("group" | "g", true) => (0x04, NO_ID),
        ("group" | "g", false) => (0x08, id()?),
        ("mask" | "m", true) => (0x10, NO_ID),
        ("other" | "o", true) => (0x20, NO_ID),
        _ => return None,
    };
    let mut bits = 0;
    for (letter, expected, bit) in permissions.chars().zip("rwx".chars()).zip([4, 2, 1]).map(|((l, e), b)| (l, e, b)) {
        match letter {
            '-' => {}
            letter if letter == expected => bits |= bit,
            _ => return None,
        }
    }
    (permissions.len() == 3).then_some((tag, bits, id))
}
