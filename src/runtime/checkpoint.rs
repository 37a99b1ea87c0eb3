//! `checkpoint`: a running container's processes into an image.

use super::external::{self, Mounts};
use super::images::{self, ImageArgs, Images};
use super::notify::Notifying;
use super::record::Record;
use super::{Context, delete, query};
use crate::criu::{self, Criu, Features, Kind, Notify, PageServer, Request};
use crate::log;
use crate::state::Status;
use crate::store::{Access, Entry};
use crate::sys::{Call, exec};
use crate::volumes::Remove;
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::stat::stat;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The flags of `checkpoint`.
#[derive(Debug, Clone, Default)]
pub struct CheckpointArgs {
    pub id: String,
    pub image: ImageArgs,
    /// Relative to the image's directory.
    pub parent: Option<PathBuf>,
    pub leave_running: bool,
    pub tcp_skip_in_flight: bool,
    pub link_remap: bool,
    /// Told by a zero byte when lazy pages can be fetched.
    pub status_fd: Option<i32>,
    /// Address and port.
    pub page_server: Option<(String, u16)>,
    /// Memory only; the container goes on.
    pub pre_dump: bool,
}

const LOG: &str = "dump.log";

/// Writes an image of a container. Unless it is left running it is gone afterwards, as if it had been deleted; its
/// volumes stay. After an error it goes on running.
pub fn checkpoint(context: &Context, args: &CheckpointArgs) -> Result<()> {
    images::warn_rootless("checkpoint");
    let status_fd = args.status_fd.map(StatusFd::take).transpose()?;
    let entry = context.store().open(&args.id, Access::Change)?;
    let record = Record::of(&entry)?.context("the container's record is missing")?;
    let (status, pid) = query::status(&entry, &record)?;
    let (Status::Running | Status::Paused, Some(pid)) = (status, pid) else {
        bail!("container cannot be checkpointed in {status} state");
    };
    let criu = Criu::find()?;
    check_features(&criu, args)?;
    let images = Images::make(&args.image)?;
    let mut options = images.options(LOG, &record, &args.image);
    set_flags(&mut options, args, &images)?;
    describe(&mut options, &record, &entry, pid)?;
    if !args.pre_dump {
        describe_outside(&mut options, &images, &record, pid)?;
        images.write(images::NOTIFY, &Notifying::of(&entry)?)?;
    }
    let dumped = dump(&criu, &images, options, args, status_fd);
    if dumped.is_err() && status == Status::Running && record.cgroup.is_frozen()? {
        record.cgroup.thaw().context("thaw the container after the failed dump")?;
    }
    dumped?;
    if !args.leave_running
        && !args.pre_dump
        && let Err(error) = delete::destroy(&entry, Some(&record), Remove::No)
    {
        log::warn(format_args!("{}: after the checkpoint: {error:#}", args.id));
    }
    Ok(())
}

fn check_features(criu: &Criu, args: &CheckpointArgs) -> Result<()> {
    let wanted = |on: bool| on.then_some(true);
    let features = Features { mem_track: wanted(args.pre_dump), lazy_pages: wanted(args.image.lazy_pages) };
    if features == Features::default() {
        return Ok(());
    }
    let found = criu.features(features)?;
    let missing = |wanted: Option<bool>, found: Option<bool>| wanted.is_some() && found != Some(true);
    ensure!(!missing(features.mem_track, found.mem_track), "--pre-dump: criu or the kernel cannot track memory");
    ensure!(!missing(features.lazy_pages, found.lazy_pages), "--lazy-pages: criu or the kernel lacks userfaultfd");
    Ok(())
}

fn set_flags(options: &mut criu::Options, args: &CheckpointArgs, images: &Images) -> Result<()> {
    options.leave_running = Some(args.leave_running);
    options.tcp_skip_in_flight = Some(args.tcp_skip_in_flight);
    options.link_remap = Some(args.link_remap);
    if let Some((address, port)) = &args.page_server {
        if args.image.lazy_pages && !matches!(address.as_str(), "0.0.0.0" | "::") {
            log::warn(format_args!(
                "{}: --lazy-pages: criu listens on every address, not on {address} alone: who reaches port {port} can read the memory",
                args.id
            ));
        }
        options.page_server = Some(PageServer { address: Some(address.clone()), port: Some((*port).into()) });
    }
    if let Some(parent) = &args.parent {
        images.check_parent(parent)?;
        options.parent_images = Some(utf8(parent)?);
        options.track_mem = Some(true);
    }
    Ok(())
}

/// What is dumped.
fn describe(options: &mut criu::Options, record: &Record, entry: &Entry, pid: i32) -> Result<()> {
    let template = record.template()?;
    let has = |bits: u64, kind: libc::c_int| bits & u64::from(kind.cast_unsigned()) != 0;
    ensure!(
        has(template.namespaces, libc::CLONE_NEWNS),
        "a container without a mount namespace of its own cannot be checkpointed"
    );
    // Its root can read neither the image nor what is laid out for criu.
    ensure!(
        !has(template.namespaces, libc::CLONE_NEWUSER),
        "a container in a user namespace cannot be checkpointed: criu could not restore it"
    );
    ensure!(entry.process()?.is_some_and(|(found, _)| found == pid), "the container has ended");
    options.pid = Some(pid);
    options.root = Some(utf8(&record.rootfs)?);
    options.freeze_cgroup = record.cgroup.freezer_directory()?.map(|path| utf8(&path)).transpose()?;
    for (kind, name, file) in [(libc::CLONE_NEWNET, "net", "net"), (libc::CLONE_NEWPID, "pid", "pid")] {
        if has(template.joined, kind) {
            let path = format!("/proc/{pid}/ns/{file}");
            let inode = stat(path.as_str()).call(|| format!("stat {path}"))?.st_ino;
            options.external.push(format!("{name}[{inode}]:{}", external::namespace_key(name)));
        }
    }
    Ok(())
}

/// What is not dumped, and has to be found again by its key: mounts of the host's, streams, anonymous volumes.
fn describe_outside(options: &mut criu::Options, images: &Images, record: &Record, pid: i32) -> Result<()> {
    let mounts = Mounts::of(pid)?;
    options.external_mounts = external::mounts(&mounts, pid, record)?;
    let streams = external::streams(&mounts, pid)?;
    options.external.extend(streams.iter().filter(|stream| external::is_file(stream)).cloned());
    images.write(images::DESCRIPTORS, &streams)?;
    let mounts = record.storage.as_ref().map(|storage| storage.mounts.as_slice()).unwrap_or_default();
    let anonymous: BTreeMap<&Path, &str> = mounts
        .iter()
        .filter(|mount| mount.anonymous)
        .filter_map(|mount| Some((mount.destination.as_path(), mount.volume.as_deref()?)))
        .collect();
    images.write(images::VOLUMES, &anonymous)
}

fn dump(
    criu: &Criu,
    images: &Images,
    options: criu::Options,
    args: &CheckpointArgs,
    mut status_fd: Option<StatusFd>,
) -> Result<()> {
    let kind = if args.pre_dump { Kind::PreDump } else { Kind::Dump };
    let mut worker = criu.start()?;
    log::debug(format_args!("{}: criu is process {}: {options:?}", args.id, worker.pid()));
    let request = Request { kind: kind as i32, options: Some(options), ..Request::default() };
    let mut answer = |notify: &Notify, _: Option<OwnedFd>| {
        log::debug(format_args!("{}: criu: {}", args.id, notify.script()));
        match notify.script() {
            "status-ready" => status_fd.take().map_or(Ok(()), |fd| fd.tell()),
            _ => Ok(()),
        }
    };
    let answered = worker.conversation.hold(&request, &mut answer);
    let ended_well = worker.finish()?;
    answered.map_err(|error| images.explain(error, LOG))?;
    // After a pre-dump criu waits for the dump; here that is another request.
    ensure!(ended_well || args.pre_dump, "criu failed after it had answered (log: {LOG})");
    Ok(())
}

pub(super) fn utf8(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .with_context(|| format!("{} is not UTF-8, and criu's messages are", path.display()))
}

/// `--status-fd`.
#[derive(Debug)]
struct StatusFd(std::fs::File);

impl StatusFd {
    /// Takes over the caller's descriptor.
    fn take(number: i32) -> Result<StatusFd> {
        let invalid = || format!("invalid --status-fd argument {number}");
        let given = exec::is_inherited(number).call(|| format!("fcntl F_GETFD {number}"))?;
        ensure!(number > 2 && given, "{}: it is not a descriptor of the caller's", invalid());
        let path = format!("/proc/self/fd/{number}");
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .call(|| format!("open {path}"))
            .with_context(invalid)?;
        // Criu is not to hold it open.
        nix::unistd::close(number).call(|| format!("close {number}")).with_context(invalid)?;
        Ok(StatusFd(file))
    }

    /// Says that the pages can be fetched.
    fn tell(mut self) -> Result<()> {
        std::io::Write::write_all(&mut self.0, b"\0").call(|| "write to --status-fd".into())
    }
}
