use super::*;
use crate::plan::mounts::MissingSource;

fn here() -> &'static Path {
    Path::new("/here")
}

/// `kind source destination options`.
fn shown(mount: &AddedMount) -> String {
    let source = mount.source.as_deref().unwrap_or(Path::new("-"));
    format!("{} {} {} {}", mount.kind, source.display(), mount.destination.display(), mount.options.join(","))
}

fn v(text: &str) -> Result<String> {
    volume(text, here(), String::new()).map(|mount| shown(&mount))
}

fn m(text: &str) -> Result<String> {
    mount(text, here(), String::new()).map(|mount| shown(&mount))
}

#[test]
fn short_forms() {
    let cases = [
        ("/test", "volume - /test "),
        ("data:/data", "volume data /data "),
        ("data:/data:ro", "volume data /data ro"),
        ("data:/data:rw,nocopy", "volume data /data nocopy"),
        ("data:/data:z,ro,cached", "volume data /data ro"),
        ("/home:/test", "bind /home /test rbind"),
        ("/home:/test:ro", "bind /home /test rbind,rro"),
        ("/home:/test:rslave,Z", "bind /home /test rbind,rslave"),
        ("./rel:/x", "bind /here/./rel /x rbind"),
        ("..:/x", "bind /here/.. /x rbind"),
        ("ro:/x", "volume ro /x "),
        // Podman's words.
        ("data:/data:copy", "volume data /data "),
        ("data:/data:nosuid,noexec,nodev,ro", "volume data /data ro,nodev,noexec,nosuid"),
        ("data:/data:suid,exec,dev", "volume data /data dev,exec,suid"),
        ("data:/data:idmap", "volume data /data idmap"),
        ("/home:/test:noexec,nosuid", "bind /home /test rbind,noexec,nosuid"),
    ];
    for (text, expected) in cases {
        assert_eq!(v(text).unwrap(), expected, "{text}");
    }
    assert_eq!(volume("/a:/b", here(), String::new()).unwrap().missing, MissingSource::Made);
}

#[test]
fn short_forms_that_docker_refuses() {
    let cases = [
        ("", "invalid volume specification: ''"),
        (":", "invalid volume specification: ':'"),
        ("data:", "invalid volume specification: 'data:'"),
        ("a:/b:ro:x", "invalid volume specification: 'a:/b:ro:x'"),
        ("/foo:ro", "invalid volume specification: '/foo:ro'"),
        ("data:/x:banana", "invalid mode: banana"),
        ("data:/x:ro,rw", "invalid mode: ro,rw"),
        ("data:/x:nocopy,nocopy", "invalid mode: nocopy,nocopy"),
        (
            "data:/x:rshared",
            "invalid volume specification: 'data:/x:rshared': invalid mount config for type \"volume\": field \
             BindOptions must not be specified",
        ),
        (
            "/a:/x:nocopy",
            "invalid volume specification: '/a:/x:nocopy': invalid mount config for type \"bind\": field VolumeOptions \
             must not be specified",
        ),
        ("data:/x:copy,nocopy", "invalid mode: copy,nocopy"),
        ("data:/x:exec,noexec", "invalid mode: exec,noexec"),
        ("data:/x:U", "invalid mode: U"),
        (
            "data",
            "invalid volume specification: 'data': invalid mount config for type \"volume\": invalid mount path: 'data' \
             mount path must be absolute",
        ),
        (
            "data:/",
            "invalid volume specification: 'data:/': invalid mount config for type \"volume\": invalid specification: \
             destination can't be '/'",
        ),
        ("a:/x", "create a: volume name is too short, names should be at least two alphanumeric characters"),
    ];
    for (text, expected) in cases {
        assert_eq!(v(text).unwrap_err().to_string(), expected, "{text}");
    }
    assert!(
        v("da ta:/x").unwrap_err().to_string().contains("If you intended to pass a host directory, use absolute path")
    );
    assert!(v("data:/a/..").unwrap_err().to_string().contains("destination can't be '/'"));
}

#[test]
fn long_forms() {
    let cases = [
        ("type=volume,src=data,dst=/data", "volume data /data "),
        ("target=/data", "volume - /data "),
        ("source=data,destination=/data,readonly", "volume data /data ro"),
        ("src=data,dst=/d,ro=false,volume-nocopy=1", "volume data /d nocopy"),
        (
            "type=volume,src=data,dst=/d,volume-subpath=a/b,volume-driver=local,volume-label=x=y",
            "volume data /d subpath=a/b,driver=local,label=x=y",
        ),
        (
            "type=volume,src=data,dst=/d,volume-opt=type=nfs,\"volume-opt=o=addr=1.2.3.4,rw\"",
            "volume data /d driver-opt=type=nfs,driver-opt=o=addr=1.2.3.4,rw",
        ),
        ("TYPE=bind,SRC=/a,dst=/b", "bind /a /b rbind"),
        ("type=bind,src=./a,dst=/b,ro", "bind /here/./a /b rbind,rro"),
        ("type=bind,src=/a,dst=/b,bind-recursive=disabled,ro", "bind /a /b bind,ro,rprivate"),
        ("type=bind,src=/a,dst=/b,bind-recursive=writable,ro", "bind /a /b rbind,ro"),
        ("type=bind,src=/a,dst=/b,bind-propagation=rshared", "bind /a /b rbind,rshared"),
        (
            "type=tmpfs,dst=/t,tmpfs-size=64m,tmpfs-mode=1770",
            "tmpfs tmpfs /t noexec,nosuid,nodev,size=67108864,mode=1770",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(m(text).unwrap(), expected, "{text}");
    }
    assert_eq!(mount("type=bind,src=/a,dst=/b", here(), String::new()).unwrap().missing, MissingSource::Refused);
}

#[test]
fn long_forms_that_docker_refuses() {
    let cases = [
        ("type=volume,src=data", "target is required"),
        ("type=bind,dst=/x", "invalid mount config for type \"bind\": field Source must not be empty"),
        ("type=tmpfs,src=x,dst=/x", "invalid mount config for type \"tmpfs\": field Source must not be specified"),
        ("type=frob,dst=/x", "invalid mount config for type \"frob\": mount type unknown"),
        ("dst=/x,frob=1", "unexpected key 'frob' in 'frob=1'"),
        ("dst=/x,frob", "invalid field 'frob' must be a key=value pair"),
        ("dst=/x, ro", "invalid option ' ro': option should not have whitespace"),
        ("dst=/x,bind-propagation=shared", "cannot mix 'bind-*' options with mount type 'volume'"),
        ("type=bind,src=/a,dst=/x,volume-nocopy", "cannot mix 'volume-*' options with mount type 'bind'"),
        ("dst=x", "invalid mount config for type \"volume\": invalid mount path: 'x' mount path must be absolute"),
        ("type=tmpfs,dst=/x,tmpfs-size=big", "invalid value for tmpfs-size: big"),
        ("type=tmpfs,dst=/x,tmpfs-mode=9", "invalid value for tmpfs-mode: 9"),
        ("dst=/x,src=a", "create a: volume name is too short, names should be at least two alphanumeric characters"),
    ];
    for (text, expected) in cases {
        assert_eq!(m(text).unwrap_err().to_string(), expected, "{text}");
    }
    for bad in [
        "\"dst=/x",
        "ds\"t=/x",
        "dst=/x,ro=maybe",
        "type=bind,src=/a,dst=/b,bind-recursive=writable",
        "type=image,dst=/x",
    ] {
        assert!(m(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_other_flags() {
    let made = tmpfs("/run:size=1m,exec", String::new()).unwrap();
    assert_eq!(shown(&made), "tmpfs tmpfs /run noexec,nosuid,nodev,size=1m,exec");
    assert!(tmpfs("run", String::new()).is_err());
    assert!(image_volume("/", String::new()).is_err());
    let from = |id: &str, readonly| VolumesFrom { id: id.into(), readonly };
    assert_eq!(VolumesFrom::parse("c1").unwrap(), from("c1", false));
    assert_eq!(VolumesFrom::parse("c1:ro").unwrap(), from("c1", true));
    assert_eq!(VolumesFrom::parse("c1:z").unwrap(), from("c1", false));
    for bad in ["", ":ro", "c1:nocopy", "c1:rslave"] {
        assert!(VolumesFrom::parse(bad).is_err(), "{bad}");
    }
    let twice = [volume("/x", here(), String::new()).unwrap(), tmpfs("/x/", String::new()).unwrap()];
    assert_eq!(check_duplicates(&twice).unwrap_err().to_string(), "Duplicate mount point: /x");
}

#[test]
fn modes_are_shown_as_docker_shows_them() {
    let cases = [
        ("-v /t", true, ""),
        ("-v data:/data", true, "z"),
        ("-v data:/data:ro,nocopy", true, "ro,nocopy"),
        ("-v /a:/b", false, ""),
        ("-v /a:/b:rw", false, "rw"),
        ("--mount src=data,dst=/data,readonly", true, "z"),
        ("--mount type=bind,src=/a,dst=/b,readonly", false, ""),
        ("--volumes-from c1:ro", true, ""),
        ("--image-volume /db", true, ""),
        ("mounts[3]", true, "z"),
    ];
    for (place, is_volume, mode) in cases {
        assert_eq!(shown_mode(place, is_volume, false).as_deref(), Some(mode), "{place}");
    }
    assert_eq!(shown_mode("mounts[3]", false, true).as_deref(), Some("ro"));
}
