//! Every target on the real kernel lines and on what the fuzzer has found so far, with no fuzzer.

use std::{fs, io, path::Path};

fn replay(target: &str, check: fn(&[u8])) -> io::Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = here.join("regressions").join(target);
    // A target of which nothing was found has no folder.
    let folders =
        [here.join("../kernel-lines"), found].into_iter().filter(|folder| folder.is_dir());
    let (mut inputs, mut failed) = (0, Vec::new());
    for folder in folders {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let input = fs::read(&path)?;
            inputs += 1;
            if std::panic::catch_unwind(|| check(&input)).is_err() {
                failed.push(path);
            }
        }
    }
    assert!(failed.is_empty(), "what {target} promises does not hold for {failed:#?}");
    assert!(inputs > 20, "the lines are not where they were");
    Ok(())
}

#[test]
fn parser() -> io::Result<()> {
    replay("parser", fuzz::parser::check)
}

#[test]
fn record() -> io::Result<()> {
    replay("record", fuzz::record::check)
}
