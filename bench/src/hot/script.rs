//! The linker's script: which sections go side by side, and in which order.
//!
//! The kernel maps sixteen pages at a time around one that is touched, from one multiple of sixteen to the next. What
//! commands touch is therefore put together, that of all commands in the middle: those that only look at a container
//! (state, start, kill, delete) and exec get no more of what create alone needs than an edge.

use crate::map::Map;
use crate::tracer::{Touched, Who};
use std::collections::HashMap;

/// A section of an object file, as the script names it.
struct Section<'a> {
    pattern: String,
    name: &'a str,
    touched_by: Vec<Who>,
}

/// For a program that was linked like the one that `map` is of.
pub fn of(map: &Map, touched: &Touched) -> String {
    let mut sections: Vec<Section> = Vec::new();
    let mut known = HashMap::new();
    for (who, address) in &touched.order {
        let Some(index) = map.find(*address) else { continue };
        let input = map.get(index);
        let Some(pattern) = input.pattern() else { continue };
        let at = *known.entry(pattern.clone()).or_insert_with(|| {
            sections.push(Section { pattern, name: input.name, touched_by: Vec::new() });
            sections.len() - 1
        });
        if !sections[at].touched_by.contains(who) {
            sections[at].touched_by.push(*who);
        }
    }
    // Stable: within a group in the order in which they are first touched.
    sections.sort_by_key(place);
    let list = |prefix: &str, which: &dyn Fn(&Section) -> bool| -> String {
        let of = |s: &&Section| s.name.starts_with(prefix) && which(s);
        sections.iter().filter(of).map(|s| format!("    {}\n", s.pattern)).collect()
    };
    let common = list(".rodata", &|s| !is_of_create(s));
    let libraries = list(".rodata", &|s| is_of_create(s) && is_of_library(s));
    let create = list(".rodata", &|s| is_of_create(s) && !is_of_library(s));
    let text = list(".text", &|_| true);
    let relro = list(".data.rel.ro", &|_| true);
    format!(
        "\
/* Written by rvol-hot (docs/performance.md). */
/* What registers the frames of functions reads the first of them, far from all else. An unwinder finds them by the
   program's header for them. */
SECTIONS {{ /DISCARD/ : {{ *crtbeginT.o(.init_array) }} }}
INSERT AFTER .rela.dyn;
/* Read-only after the start, for which it has to have one of a few names. At the end: of a mapping that begins between
   two multiples of sixteen pages the first sixteen are mapped together. What create alone reads is some pages, which
   would be sixteen behind the other constants. */
SECTIONS
{{
  .init_array : ALIGN(0x10000)
  {{
    __init_array_start = .;
    *(.init_array .init_array.*)
    __init_array_end = .;
  }}
  .tdata : {{ *(.tdata .tdata.*) }}
  .tbss : {{ *(.tbss .tbss.*) }}
  .bss.rel.ro :
  {{
{relro}{create}  }}
  .got : {{ *(.got) }}
  .got.plt : {{ *(.got.plt) }}
}}
INSERT AFTER .data.rel.ro;
/* Equal constants are merged, and one of them can't be had without the others. Nameless ones (Lanon) have a hash and a
   number that change with the crate: those that are not found any more are at least among their like. */
SECTIONS
{{
  .rodata.hot :
  {{
{common}{libraries}    *.rcgu.o(.rodata.cst*)
    *libc.a:dl-support.o(.rodata.str*)
    *libc.a:fstat*.o(.rodata.str*)
    *.rcgu.o(.rodata.str*)
    *.rcgu.o(.rodata..Lanon.*)
  }}
}}
INSERT AFTER .rela.dyn;
SECTIONS
{{
  .init : ALIGN(0x10000) {{ *(.init) }}
  .iplt : {{ *(.iplt) }}
  .text.hot :
  {{
{text}  }}
}}
INSERT BEFORE .text;
"
    )
}

fn is_of_library(section: &Section) -> bool {
    section.pattern.contains(':')
}

fn is_of_create(section: &Section) -> bool {
    section.touched_by.iter().all(|who| matches!(who, Who::Create | Who::Init))
}

/// The group that a section is in, and within it what init needs as well behind the rest.
fn place(section: &Section) -> (u8, bool) {
    let by = |who| section.touched_by.contains(&who);
    let group = match (by(Who::Exec), by(Who::Short), by(Who::Create)) {
        (true, false, false) => 0,
        (true, true, false) => 1,
        (false, true, false) => 2,
        (true, false, true) => 3,
        (true, true, true) => 4,
        (false, true, true) => 5,
        (false, false, true) => 6,
        (false, false, false) => 7,
    };
    (group, by(Who::Init))
}
