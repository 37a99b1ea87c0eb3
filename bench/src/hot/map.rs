//! What the linker says it has put where, and how a script names it for another build.

use anyhow::{Result, bail};
use std::ops::Range;

/// What the linker has taken from one object file.
pub struct Input<'a> {
    address: u64,
    size: u64,
    file: &'a str,
    pub name: &'a str,
}

/// All of them, by address.
pub struct Map<'a>(Vec<Input<'a>>);

impl<'a> Map<'a> {
    /// `text` as lld writes it with `-Map`: three hexadecimal numbers and the alignment, then, each eight spaces further in,
    /// an output section, an input section as `FILE:(NAME)`, a symbol in it.
    pub fn parse(text: &'a str) -> Result<Map<'a>> {
        let mut inputs = Vec::new();
        for line in text.lines() {
            let Some((numbers, rest)) = line.split_at_checked(49) else { continue };
            let name = rest.trim_start();
            let mut numbers = numbers.split_whitespace().map(|n| u64::from_str_radix(n, 16));
            let (Some(Ok(address)), _, Some(Ok(size))) = (numbers.next(), numbers.next(), numbers.next()) else {
                continue;
            };
            if (rest.len() - name.len()) / 8 != 1 || address == 0 || size == 0 {
                continue;
            }
            let Some((file, name)) = name.strip_suffix(')').and_then(|n| n.rsplit_once(":(")) else { continue };
            if name.starts_with(".tbss") {
                // Each thread's own; other sections are at these addresses.
                continue;
            }
            inputs.push(Input { address, size, file, name });
        }
        inputs.sort_by_key(|input| input.address);
        if inputs.is_empty() {
            bail!("not a map of lld's");
        }
        Ok(Map(inputs))
    }

    /// From the lowest address to behind the highest.
    pub fn image(&self) -> Range<u64> {
        let first = self.0.first().map_or(0, |input| input.address);
        first..self.0.last().map_or(0, |input| input.address + input.size)
    }

    /// The index of what lies at an address, for [`Map::get`].
    pub fn find(&self, address: u64) -> Option<usize> {
        let index = self.0.partition_point(|input| input.address <= address).checked_sub(1)?;
        (address < self.0[index].address + self.0[index].size).then_some(index)
    }

    pub fn get(&self, index: usize) -> &Input<'a> {
        &self.0[index]
    }
}

impl Input<'_> {
    /// What matches it with whatever compiler it is made; `None` for what the linker itself has made.
    pub fn pattern(&self) -> Option<String> {
        let file = self.file.rsplit('/').next()?;
        if let Some((archive, member)) = file.strip_suffix(')').and_then(|file| file.split_once('('))
            && !self.name.contains("._R")
        {
            return Some(format!("*{}:{member}({})", any_hash(archive), self.name));
        }
        match file {
            "<internal>" => None,
            // `crt1.o` and its like; all else that is no archive is what the compiler has made.
            file if file.starts_with("crt") => Some(format!("*{file}({})", self.name)),
            _ => Some(format!("*({}*)", any_crate(self.name))),
        }
    }
}

/// `liblibseccomp_sys-0123456789abcdef.rlib`, with whatever number.
fn any_hash(archive: &str) -> String {
    match archive.rsplit_once('-') {
        Some((name, end)) if end.len() == 21 && end.ends_with(".rlib") => format!("{name}-*.rlib"),
        _ => archive.to_owned(),
    }
}

/// A mangled name (RFC 2603) has `Cs…_` before the name of each crate, which stands for its version and the compiler's.
fn any_crate(name: &str) -> String {
    let name = name.split(".llvm.").next().unwrap_or(name);
    let mut pattern = String::new();
    for (index, part) in name.split("Cs").enumerate() {
        let rest =
            part.find('_').map(|end| &part[end + 1..]).filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        match rest {
            Some(rest) if index > 0 => pattern.extend(["Cs*_", rest]),
            _ if index > 0 => pattern.extend(["Cs", part]),
            _ => pattern.push_str(part),
        }
    }
    pattern
}
