//! Writes `link/hot.ld`: what the usual commands execute and read of the binary, as a script for the linker that puts it
//! side by side.
//!
//! ```text
//! rvol-hot BINARY MAP > link/hot.ld
//! ```
//!
//! BINARY is a release build of rvol-runc, MAP what the linker wrote when it was linked; see docs/performance.md. Each
//! command is run step by step, instruction for instruction. Names lose what changes with the compiler (hashes); a
//! pattern that matches nothing does no harm.

#[cfg(target_arch = "x86_64")]
mod decode;
#[cfg(target_arch = "x86_64")]
mod map;
#[cfg(target_arch = "x86_64")]
mod script;
#[cfg(target_arch = "x86_64")]
mod tracer;

#[cfg(target_arch = "x86_64")]
fn main() -> anyhow::Result<()> {
    use anyhow::{Context, bail};
    let words: Vec<std::path::PathBuf> = std::env::args_os().skip(1).map(Into::into).collect();
    let [binary, map] = &words[..] else { bail!("usage: rvol-hot BINARY MAP") };
    let text = std::fs::read_to_string(map).with_context(|| format!("read {}", map.display()))?;
    let map = map::Map::parse(&text)?;
    let touched = tracer::commands(&binary.canonicalize()?, map.image())?;
    print!("{}", script::of(&map, &touched));
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    eprintln!("rvol-hot: steps through programs for x86-64 alone");
    std::process::exit(1);
}
