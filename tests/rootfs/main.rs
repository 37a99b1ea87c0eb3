//! The mount engine in real namespaces. Not run by libtest: see `kit`.

mod attacks;
mod binds;
mod copies;
mod devices;
mod filesystems;
mod kit;
mod masks;
mod roots;
mod users;

fn main() {
    let groups = [
        binds::CASES,
        filesystems::CASES,
        devices::CASES,
        masks::CASES,
        roots::CASES,
        users::CASES,
        copies::CASES,
        attacks::CASES,
    ];
    std::process::exit(kit::main(&groups.concat()));
}
