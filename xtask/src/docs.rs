//! `cargo xtask docs`: writes `docs/tools.md` from the manuals at the head of the tools' sources. With `--check`, which
//! `ci` uses, it writes nothing and fails where the file is not what it would write.

use std::fs;

use anyhow::{Context as _, Result, bail};

use crate::{paths, ui};

/// Where the tools are, and the document that is made of their manuals.
const SOURCES: &str = "agent/src/mcp/tools";
const DOCUMENT: &str = "docs/tools.md";

const HEAD: &str = "# Tools\n\n<!-- Generated from agent/src/mcp/tools/ by `cargo xtask docs`; edit there. -->\n\n\
    Every tool only reads. Every answer comes as structured content that obeys the tool's `outputSchema` and as a text for\n\
    people; a refusal (`isError`) says what happened and what to do next. A value that is null has its reason in `absent`.\n\
    `simulated: true` marks every answer about GPUs that do not exist.\n";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Fail where the document is stale, and write nothing.
    #[arg(long)]
    check: bool,
}

/// The task.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check { check() } else { write() }
}

/// Fails where the document is stale.
pub(crate) fn check() -> Result<()> {
    let path = paths::root().join(DOCUMENT);
    let stands = fs::read_to_string(&path).unwrap_or_default();
    if stands != document()? {
        bail!(
            "{DOCUMENT} is not what the tools' manuals say: run `cargo xtask docs` and commit it"
        );
    }
    Ok(())
}

fn write() -> Result<()> {
    let path = paths::root().join(DOCUMENT);
    fs::write(&path, document()?).with_context(|| format!("writing {}", path.display()))?;
    ui::line(format!("wrote {DOCUMENT}"));
    Ok(())
}

fn document() -> Result<String> {
    let folder = paths::root().join(SOURCES);
    let entries = fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))?;
    let mut manuals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // A tool too long for one file has the rest of it in a folder; its manual is at the head of the file.
        if path.is_dir() {
            continue;
        }
        let source =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        manuals.extend(manual(&source));
    }
    manuals.sort();
    Ok(manuals.into_iter().fold(HEAD.to_owned(), |document, manual| document + "\n" + &manual))
}

/// The section of one tool: its file begins with its name. Other files of the folder have none.
fn manual(source: &str) -> Option<String> {
    let lines: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        // The one blank behind it, and not what indents a line.
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    let (name, rest) = lines.first()?.strip_prefix('`')?.split_once("`: ")?;
    let mut section = format!("## {name}\n\n{}\n", capitalised(rest));
    for line in &lines[1..] {
        section += line;
        section.push('\n');
    }
    Some(section)
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_is_a_tools_head_and_nothing_else_is() {
        let source =
            "//! `get_x`: what x is.\n//!\n//! ```text\n//!   x\n//! ```\n\nuse std;\n//! no\n";
        assert_eq!(
            manual(source).as_deref(),
            Some("## get_x\n\nWhat x is.\n\n```text\n  x\n```\n")
        );
        assert_eq!(manual("//! Arguments that several tools share.\n"), None);
        assert_eq!(manual("fn main() {}\n"), None);
    }
}
