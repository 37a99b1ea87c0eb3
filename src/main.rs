//! The program: hands the command line to `cli`.

fn main() {
    std::process::exit(rvol_runc::cli::main());
}
