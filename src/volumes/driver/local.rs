//! The options of the `local` driver, and the mount that they mean. Pure: whoever carries it out brings the resolver.
//!
//! Keys and errors are Docker's. Options are taken apart here, one by one, so that none can reach the filesystem as a
//! part of another.

use crate::plan::mounts::{Bind, Fs, FsOption, MissingSource};
use crate::plan::options::{BindOption, Options, Propagation};
use crate::volumes::grammar;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What a volume of the `local` driver has beyond a directory of the store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Local {
    /// Mounted over the directory while somebody uses the volume.
    pub mount: Option<DataMount>,
    /// The bytes that may be in the directory, at most.
    pub size: Option<u64>,
}

/// `type`, `device` and `o`, as they were given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataMount {
    pub fstype: String,
    pub device: String,
    pub options: String,
}

/// What is to be mounted.
#[derive(Debug)]
pub enum Operation {
    Filesystem(Fs),
    Bind(Bind),
}

const KEYS: [&str; 4] = ["device", "o", "size", "type"];

/// Which option needs which others.
const NEEDS: [(&str, &[&str]); 3] = [("device", &["type"]), ("o", &["device", "type"]), ("type", &["device"])];

impl Local {
    /// Reads the options of a volume.
    ///
    /// # Errors
    /// Docker's, for a key that is unknown or missing and for a size that is none; and what no mount could be made of.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Local> {
        if let Some(unknown) = options.keys().find(|key| !KEYS.contains(&key.as_str())) {
            bail!("invalid option: {unknown:?}");
        }
        let value = |key: &str| options.get(key).filter(|value| !value.is_empty());
        let size = value("size").map(|text| size(text)).transpose()?.filter(|size| *size > 0);
        for (key, needed) in NEEDS {
            if let (true, Some(missing)) = (options.contains_key(key), needed.iter().find(|key| value(key).is_none())) {
                bail!("missing required option: {missing:?}");
            }
        }
        let (Some(fstype), Some(device)) = (value("type"), value("device")) else {
            return Ok(Local { mount: None, size });
        };
        ensure!(size.is_none(), "size is for a volume without a type; a filesystem's own size goes into o=size=…");
        let options = value("o").cloned().unwrap_or_default();
        let mount = DataMount { fstype: fstype.clone(), device: device.clone(), options };
        if mount.is_cifs() && share(device).is_some_and(|(host, _)| port(host).is_some()) {
            bail!("port not allowed in CIFS device URL, include 'port' in 'o='");
        }
        mount.operation(device, &mount.options)?;
        Ok(Local { mount: Some(mount), size })
    }
}

impl DataMount {
    fn is_cifs(&self) -> bool {
        matches!(self.fstype.as_str(), "cifs" | "smb3")
    }

    /// The mount, with names of hosts replaced by their addresses: the kernel knows no names.
    pub fn resolved(&self, lookup: impl Fn(&str) -> Result<IpAddr>) -> Result<Operation> {
        let (device, options) = self.translated(lookup)?;
        self.operation(&device, &options)
    }

    /// Device and options as Docker hands them to the kernel.
    fn translated(&self, lookup: impl Fn(&str) -> Result<IpAddr>) -> Result<(String, String)> {
        let DataMount { fstype, device, options } = self;
        let as_given = || (device.clone(), options.clone());
        if !self.is_cifs() && !matches!(fstype.as_str(), "nfs" | "nfs4") {
            return Ok(as_given());
        }
        let lookup = |host: &str| lookup(host).context("error resolving passed in network volume address");
        if let Some(host) = options.split(',').find_map(|option| option.strip_prefix("addr=")) {
            if host.is_empty() || host.parse::<IpAddr>().is_ok() {
                return Ok(as_given());
            }
            let address = lookup(host)?;
            let mut words: Vec<String> = options.split(',').map(str::to_owned).collect();
            if let Some(word) = words.iter_mut().find(|word| word.starts_with("addr=")) {
                *word = format!("addr={address}");
            }
            return Ok((device.clone(), words.join(",")));
        }
        let Some((host, path)) = share(device).filter(|(host, _)| self.is_cifs() && !host.is_empty()) else {
            return Ok(as_given());
        };
        if host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            return Ok(as_given());
        }
        Ok((format!("//{}{path}", lookup(host)?), options.clone()))
    }

    fn operation(&self, device: &str, options: &str) -> Result<Operation> {
        let options = Options::parse(&[options.to_owned()]);
        let at = |what: &str| format!("o={}: {what} cannot be an option of a volume", self.options);
        ensure!(!options.remount, at("remount"));
        ensure!(options.copy_up.is_none(), at("tmpcopyup"));
        ensure!(options.idmap.is_none(), at("idmap"));
        if let Some(bind) = options.bind {
            return self.bind(device, bind == BindOption::Tree, &options).map(Operation::Bind);
        }
        ensure!(
            !matches!(self.fstype.as_str(), "none" | "bind" | "rbind"),
            "type={} needs o=bind or o=rbind",
            self.fstype
        );
        let attr = options.attr.of_new_mount();
        let mut words: Vec<FsOption> = Vec::new();
        if attr.is_readonly() {
            // A device may be read-only itself.
            words.push(FsOption::Flag("ro".into()));
        }
        words.extend(options.superblock.iter().filter(|flag| flag.on).map(|flag| FsOption::Flag(flag.name.to_owned())));
        words.extend(options.data.into_iter().map(|(_, option)| option));
        Ok(Operation::Filesystem(Fs {
            fstype: self.fstype.clone(),
            source: Some(device.to_owned()),
            options: words,
            attr,
            propagation: options.propagation.unwrap_or(Propagation::private(false)),
            idmap: None,
            copy_up: false,
            label: None,
        }))
    }

    fn bind(&self, device: &str, recursive: bool, options: &Options) -> Result<Bind> {
        ensure!(device.starts_with('/'), "device={device}: a directory to bind has to be an absolute path");
        if let Some((_, option)) = options.data.first() {
            let name = match option {
                FsOption::Flag(name) | FsOption::Value(name, _) => name,
            };
            bail!("o={}: {name:?} is not an option of a bind mount", self.options);
        }
        if let Some(flag) = options.superblock.iter().find(|flag| flag.on) {
            bail!(
                "o={}: {:?} is a property of the whole filesystem, which is mounted already",
                self.options,
                flag.name
            );
        }
        Ok(Bind {
            source: device.into(),
            recursive,
            attr: options.attr,
            propagation: options.propagation.unwrap_or(Propagation::private(recursive)),
            idmap: None,
            volume: None,
            missing: MissingSource::default(),
        })
    }

    /// A text without the secrets of the options, as Docker shows passwords.
    pub fn masked(&self, text: &str) -> String {
        const SECRETS: [&str; 4] = ["pass", "password", "password2", "secret"];
        let mut text = text.to_owned();
        for option in self.options.split(',') {
            match option.split_once('=') {
                Some((key, value)) if SECRETS.contains(&key) && !value.is_empty() => {
                    text = text.replace(option, &format!("{key}=********"));
                }
                _ => {}
            }
        }
        text
    }
}

/// For messages; see [`DataMount::masked`].
impl std::fmt::Display for DataMount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "type={} device={}", self.fstype, self.device)?;
        if self.options.is_empty() { Ok(()) } else { write!(f, " o={}", self.options) }
    }
}

/// Host and path of `//host/path`.
fn share(device: &str) -> Option<(&str, &str)> {
    let rest = device.strip_prefix("//")?;
    Some(rest.split_at(rest.find('/').unwrap_or(rest.len())))
}

/// What follows the colon of a host (which may be an IPv6 address in brackets).
fn port(host: &str) -> Option<&str> {
    let (_, port) = host.rsplit_once(':')?;
    (!port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then_some(port)
}

fn size(text: &str) -> Result<u64> {
    grammar::bytes(text).and_then(|bytes| bytes.parse().ok()).with_context(|| format!("invalid size: '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> BTreeMap<String, String> {
        let pair = |word: &&str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        words.iter().filter_map(pair).collect()
    }

    fn parse(words: &[&str]) -> Result<Local> {
        Local::parse(&options(words))
    }

    fn error(words: &[&str]) -> String {
        format!("{:#}", parse(words).unwrap_err())
    }

    #[test]
    fn keys_are_dockers() {
        assert_eq!(parse(&[]).unwrap(), Local::default());
        assert_eq!(parse(&["size=1.5m"]).unwrap().size, Some(3 << 19));
        assert_eq!(parse(&["size=0"]).unwrap().size, None);
        assert!(parse(&["type=tmpfs", "device=tmpfs", "o=size=100m,uid=1000"]).unwrap().mount.is_some());
        assert_eq!(error(&["frob=1"]), "invalid option: \"frob\"");
        assert_eq!(error(&["size=big"]), "invalid size: 'big'");
        assert_eq!(error(&["type=tmpfs"]), "missing required option: \"device\"");
        assert_eq!(error(&["device=/x"]), "missing required option: \"type\"");
        assert_eq!(error(&["o=ro"]), "missing required option: \"device\"");
        assert_eq!(error(&["type=tmpfs", "device=", "o=ro"]), "missing required option: \"device\"");
        assert_eq!(
            error(&["type=cifs", "device=//nas:445/share"]),
            "port not allowed in CIFS device URL, include 'port' in 'o='"
        );
        assert!(error(&["type=tmpfs", "device=tmpfs", "size=1m"]).contains("o=size="));
    }

    #[test]
    fn what_cannot_be_mounted_is_refused_at_once() {
        for (words, why) in [
            (&["type=none", "device=/x"][..], "type=none needs o=bind"),
            (&["type=none", "device=x", "o=bind"], "absolute path"),
            (&["type=none", "device=/x", "o=bind,size=1m"], "\"size\" is not an option of a bind mount"),
            (&["type=none", "device=/x", "o=bind,sync"], "\"sync\" is a property of the whole filesystem"),
            (&["type=none", "device=/x", "o=bind,remount,ro"], "remount cannot be an option of a volume"),
            (&["type=ext4", "device=/dev/x", "o=idmap"], "idmap cannot be an option of a volume"),
        ] {
            assert!(error(words).contains(why), "{words:?}: {}", error(words));
        }
    }

    #[test]
    fn options_become_parameters_one_by_one() {
        let local = parse(&["type=ext4", "device=/dev/sdb1", "o=ro,noexec,data=journal,sync,discard"]).unwrap();
        let Operation::Filesystem(fs) = local.mount.unwrap().resolved(|_| unreachable!()).unwrap() else { panic!() };
        assert_eq!((fs.fstype.as_str(), fs.source.as_deref()), ("ext4", Some("/dev/sdb1")));
        let flag = |name: &str| FsOption::Flag(name.into());
        let data = FsOption::Value("data".into(), "journal".into());
        assert_eq!(fs.options, [flag("ro"), flag("sync"), data, flag("discard")]);
        assert_eq!(fs.attr.names(), ["ro", "noexec"]);
        assert_eq!(fs.propagation, Propagation::private(false));
        let local = parse(&["type=none", "device=/srv/data", "o=rbind,ro,rslave"]).unwrap();
        let Operation::Bind(bind) = local.mount.unwrap().resolved(|_| unreachable!()).unwrap() else { panic!() };
        assert!(bind.recursive && bind.source == std::path::Path::new("/srv/data"));
        assert_eq!((bind.attr.names(), bind.propagation.to_string()), (vec!["ro".into()], "rslave".into()));
    }

    #[test]
    fn names_of_hosts_are_translated_as_docker_does() {
        let lookup = |host: &str| -> Result<IpAddr> {
            match host {
                "nas" | "nas.example" => Ok([10, 0, 0, 7].into()),
                _ => bail!("{host}: unknown"),
            }
        };
        let cases = [
            ("nfs", ":/export", "addr=nas.example,rw,vers=4", ":/export", "addr=10.0.0.7,rw,vers=4"),
            ("nfs", ":/export", "rw,addr=1.2.3.4", ":/export", "rw,addr=1.2.3.4"),
            ("nfs", ":/export", "clientaddr=nas,addr=nas", ":/export", "clientaddr=nas,addr=10.0.0.7"),
            ("nfs", "nas:/export", "rw", "nas:/export", "rw"),
            ("nfs4", ":/export", "addr=nas", ":/export", "addr=10.0.0.7"),
            ("cifs", "//nas/share", "username=u,password=p", "//10.0.0.7/share", "username=u,password=p"),
            ("cifs", "//nas/share", "addr=nas,username=u", "//nas/share", "addr=10.0.0.7,username=u"),
            ("cifs", "//1.2.3.4/a b", "", "//1.2.3.4/a b", ""),
            ("cifs", "//[fe80::1]/x", "", "//[fe80::1]/x", ""),
            ("tmpfs", "tmpfs", "addr=nas", "tmpfs", "addr=nas"),
        ];
        for (fstype, device, options, to_device, to_options) in cases {
            let mount = DataMount { fstype: fstype.into(), device: device.into(), options: options.into() };
            let expected = (to_device.to_owned(), to_options.to_owned());
            assert_eq!(mount.translated(lookup).unwrap(), expected, "{mount}");
        }
        let lost = DataMount { fstype: "nfs".into(), device: ":/x".into(), options: "addr=gone".into() };
        assert_eq!(
            format!("{:#}", lost.translated(lookup).unwrap_err()),
            "error resolving passed in network volume address: gone: unknown"
        );
    }

    #[test]
    fn no_message_has_a_password() {
        let options = "username=u,password=hunter2,vers=3.0".into();
        let mount = DataMount { fstype: "cifs".into(), device: "//nas/x".into(), options };
        let shown = mount.masked(&format!("{mount}: fsconfig password=hunter2: EINVAL"));
        assert_eq!(
            shown,
            "type=cifs device=//nas/x o=username=u,password=********,vers=3.0: fsconfig password=********: EINVAL"
        );
    }
}
