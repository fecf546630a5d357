//! Figures that may only fall.

use std::fs;

use super::reader::{files, named, short, sources};

/// Lines of a file, its tests included.
const LINES_MAX: usize = 600;

/// Names that the library's modules hand on to everybody, farm's apart.
const HANDED_ON_MAX: usize = 205;

#[test]
fn no_file_is_long() {
    let mut found = Vec::new();
    for path in files("src", "rs").iter().chain(&files("commands", "rs")) {
        let lines = fs::read_to_string(path).unwrap().lines().count();
        if lines >= LINES_MAX {
            found.push(format!("{}: {lines} lines", short(path)));
        }
    }
    super::none(&found, "files of 600 lines and more; a file is read in one sitting");
}

#[test]
fn rooms_hand_on_few_names() {
    let mut total = 0;
    for source in sources("src").iter().filter(|source| source.path.ends_with("/mod.rs")) {
        let count = named(&source.code).iter().filter(|named| named.is_public).count();
        if count > 0 {
            println!("{count:>4} {}", source.path);
        }
        total += if source.room == "farm" { 0 } else { count };
    }
    println!("{total:>4} outside farm");
    assert!(total <= HANDED_ON_MAX, "{total} names are handed on; narrow the room, or raise this on purpose");
}
