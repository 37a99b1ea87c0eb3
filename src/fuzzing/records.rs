//! Files of the state directory and of a volume that are damaged or that somebody else wrote.

use super::{Scratch, told};
use crate::runtime::record::Record;
use crate::store::{self, Access};
use crate::volumes;
use std::fs;

/// The input is each of them in turn. A file that is damaged is an error with words, and stays as it was.
pub fn records(bytes: &[u8]) {
    let scratch = Scratch::new();
    container(&scratch, bytes);
    volume(&scratch, bytes);
}

fn container(scratch: &Scratch, bytes: &[u8]) {
    let store = store::Store::new(scratch.path().join("state"));
    let entry = store.create("c").expect("make a state directory");
    for name in ["container.json", "init.json"] {
        fs::write(scratch.path().join("state/c").join(name), bytes).expect("write a record");
    }
    told(entry.init());
    if let Some(Some(mut record)) = told(Record::of(&entry)) {
        told(record.template());
        if let Some(resources) = told(record.resources()) {
            record.set_resources(&resources).expect("resources can be written");
        }
        entry.replace_record(&record).expect("a record can be written");
        let again = Record::of(&entry).expect("what was written can be read").expect("what was written is there");
        assert_eq!((again.id, again.version), (record.id, record.version));
    }
    drop(entry);
    told(store.open("c", Access::Read).and_then(|entry| entry.init()));
}

fn volume(scratch: &Scratch, bytes: &[u8]) {
    let directory = scratch.path().join("volumes/vol");
    fs::create_dir_all(directory.join("refs")).expect("make a volume");
    fs::create_dir(directory.join("_data")).expect("make a volume");
    for name in ["volume.json", "refs/c"] {
        fs::write(directory.join(name), bytes).expect("write a record");
    }
    let store = volumes::Store::new(scratch.path().join("volumes"));
    let Some(Some(volume)) = told(store.lock("vol")) else { panic!("the volume is there") };
    if let Some(metadata) = told(volume.metadata()) {
        volume.set_metadata(&metadata).expect("metadata can be written");
        assert_eq!(volume.metadata().expect("what was written can be read"), metadata);
    }
    told(volume.users());
    if let Some(holders) = told(volume.holders()) {
        for holder in &holders {
            assert_eq!(holder.id, "c");
            told(volume.release(holder));
        }
        assert!(volume.holders().is_ok_and(|left| left.is_empty()));
    }
}
