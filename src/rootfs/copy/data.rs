//! The bytes of a regular file: shared with the source where the filesystem can, else copied inside the kernel.

use crate::sys::{Call, Errno, file};
use anyhow::Result;
use nix::sys::stat::FileStat;
use nix::unistd::{Whence, ftruncate, lseek, read, write};
use std::os::fd::BorrowedFd;

/// What has turned out to work between the two filesystems: what failed once is not tried for each file again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Method {
    no_clone: bool,
    no_range: bool,
}

/// The most that one call is asked for: so much at a time can be told to who watches.
const CHUNK: usize = 64 << 20;

/// Who is told of bytes that have been copied.
pub type Watch<'a> = &'a mut dyn FnMut(u64);

/// Up to this size, copying through our own memory is faster than setting up a copy inside the kernel.
const SMALL: usize = 32 << 10;

impl Method {
    /// Copies `stat.st_size` bytes, holes as holes. `to` is empty, both are at their start.
    pub fn copy(&mut self, from: BorrowedFd, to: BorrowedFd, stat: &FileStat, watch: Watch) -> Result<()> {
        if stat.st_size == 0 {
            return Ok(());
        }
        if !self.no_clone {
            match file::clone_data(from, to) {
                Ok(()) => return Ok(()),
                Err(Errno::EOPNOTSUPP | Errno::EXDEV | Errno::EINVAL | Errno::ENOTTY | Errno::ENOSYS) => {
                    self.no_clone = true;
                }
                Err(errno) => return Err(errno).call(|| "ioctl FICLONE".into()),
            }
        }
        let sparse = stat.st_blocks * 512 < stat.st_size;
        if !sparse && stat.st_size as usize <= SMALL {
            return copy_small(from, to, stat.st_size as usize);
        }
        if sparse {
            return self.copy_extents(from, to, stat.st_size, watch);
        }
        self.copy_range(from, to, stat.st_size, watch)
    }

    /// Only the parts that hold data; the rest stays a hole.
    fn copy_extents(&mut self, from: BorrowedFd, to: BorrowedFd, size: i64, watch: Watch) -> Result<()> {
        ftruncate(to, size).call(|| "ftruncate".into())?;
        let mut end = 0;
        while end < size {
            let start = match lseek(from, end, Whence::SeekData) {
                Ok(start) => start,
                // No more data.
                Err(Errno::ENXIO) => break,
                Err(errno) => return Err(errno).call(|| "lseek SEEK_DATA".into()),
            };
            end = lseek(from, start, Whence::SeekHole).call(|| "lseek SEEK_HOLE".into())?;
            lseek(from, start, Whence::SeekSet).call(|| "lseek".into())?;
            lseek(to, start, Whence::SeekSet).call(|| "lseek".into())?;
            self.copy_range(from, to, end - start, watch)?;
        }
        Ok(())
    }

    /// `length` bytes from where the fds stand, or as many as there are: the file may shrink meanwhile.
    fn copy_range(&mut self, from: BorrowedFd, to: BorrowedFd, length: i64, watch: Watch) -> Result<()> {
        let mut left = length as usize;
        while left > 0 {
            let copied = match self.copy_some(from, to, left.min(CHUNK)) {
                Err(Errno::EINTR) => continue,
                result => result.call(|| "copy data".into())?,
            };
            if copied == 0 {
                break;
            }
            left -= copied;
            watch(copied as u64);
        }
        Ok(())
    }

    fn copy_some(&mut self, from: BorrowedFd, to: BorrowedFd, length: usize) -> nix::Result<usize> {
        if !self.no_range {
            match file::copy_range(from, to, length) {
                // The end, or a filesystem that cannot tell: sendfile knows.
                Ok(0) => {}
                Err(Errno::EXDEV | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS) => self.no_range = true,
                result => return result,
            }
        }
        file::send_data(from, to, length)
    }
}

/// `length` bytes, or as many as there are.
fn copy_small(from: BorrowedFd, to: BorrowedFd, length: usize) -> Result<()> {
    let mut buffer = [0; SMALL];
    let mut left = length;
    while left > 0 {
        let got = match read(from, &mut buffer[..left]) {
            Err(Errno::EINTR) => continue,
            got => got.call(|| "read".into())?,
        };
        if got == 0 {
            break;
        }
        let mut data = &buffer[..got];
        while !data.is_empty() {
            match write(to, data) {
                Err(Errno::EINTR) => {}
                // The name that copying has in errors, however it is done.
                written => data = &data[written.call(|| "copy data".into())?..],
            }
        }
        left -= got;
    }
    Ok(())
}
