//! Volumes: directories that outlive containers, in a store of their own.
//!
//! Owns the store on disk, who uses which volume, copy-up, and the words by which people ask for volumes. Knows nothing
//! of how a container is made; what it gives to a mount is an open directory.

pub mod archive;
mod copy_up;
pub mod driver;
pub mod grammar;
mod hold;
mod metadata;
mod store;
pub mod tenancy;
mod tree;
mod volume;
mod walk;

pub use hold::{Remove, Taken, Wish, anonymous_name, check_same, let_go, release, take};
pub use metadata::{ANONYMOUS_LABEL, Metadata};
pub use store::{Durable, NoSuchVolume, Store, natural};
pub use volume::{Holder, Pin, Volume};
