//! `agent xid [CODE…] [-o text|json]`: what NVIDIA's catalogue says of a number.
//!
//! ```text
//! $ agent xid 79
//! Xid 79  ROBUST_CHANNEL_GPU_HAS_FALLEN_OFF_THE_BUS
//!   meaning        The GPU does not answer on PCIe any more.
//!   severity       fatal: follows from NVIDIA's action for at once
//!   occurs on      A100, H100, B100, GB200
//!   with Xid 154   since driver R565; it says what the GPU needs
//!   at once        RESTART_BM: Drain the node and reboot it; where that does not help, take its power away.
//!   look into      CONTACT_SUPPORT: If it comes again, collect nvidia-bug-report.sh and ask the vendor.
//! ```
//!
//! Numbers from 10000 on are SXids, the errors of an NVSwitch. Without a number the whole table is printed, Xids first.
//! `-o json` prints an object for each number, with the same fields for both kinds, null where the catalogue says nothing.
//!
//! NVIDIA publishes no severity: it is this project's, and the rule says what it follows from. A line may ask for another
//! action than its number does (the registers of an NVLink error, the number in an Xid 154): `agent decode` reads lines.
//!
//! Exit code: 0; 1 where no catalogue has a number that was asked for (stderr names it; the others are printed), or where
//! stdout cannot be written; 2 for what is no number.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use super::output::{self, Format};
use crate::{
    mcp::catalogue::{ActionAnswer, Entry, FIRST_SXID, StepAnswer, all},
    xid::{SeverityRule, catalogue::SxidClass},
};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Numbers to explain; from 10000 on those of an NVSwitch. All when left out
    #[arg(value_name = "CODE")]
    codes: Vec<u32>,

    /// `text` for a person, `json` for one object a line
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value = "text")]
    output: Format,
}

/// Prints what is known of the numbers.
pub fn run(args: &Args) -> ExitCode {
    let mut out = output::stdout();
    output::ended(print(args, &mut out).and_then(|code| out.flush().map(|()| code)))
}

fn print(args: &Args, out: &mut impl Write) -> io::Result<ExitCode> {
    let (known, unknown): (Vec<_>, Vec<_>) =
        args.codes.iter().map(|&code| Entry::of(code).ok_or(code)).partition(Result::is_ok);
    let known = known.into_iter().flatten();
    match (args.output, args.codes.is_empty()) {
        (Format::Json, true) => all().try_for_each(|entry| output::json_line(out, &entry))?,
        (Format::Json, false) => {
            known.into_iter().try_for_each(|entry| output::json_line(out, &entry))?;
        }
        (Format::Text, true) => table(out)?,
        (Format::Text, false) => {
            for (at, entry) in known.enumerate() {
                if at > 0 {
                    writeln!(out)?;
                }
                text(&entry, out)?;
            }
        }
    }
    for code in unknown.iter().filter_map(|unknown| unknown.as_ref().err()) {
        let kind = if *code < FIRST_SXID { "Xid" } else { "SXid" };
        output::say(format_args!("no catalogue has {kind} {code}"));
    }
    Ok(if unknown.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>5}  {:<8}  {:<18}  NAME", "CODE", "SEVERITY", "AT ONCE")?;
    for Entry { code, severity, immediate_action, mnemonic, .. } in all() {
        let action = immediate_action.map_or("-", |action| action.name);
        writeln!(out, "{code:>5}  {severity:<8}  {action:<18}  {mnemonic}")?;
    }
    Ok(())
}

/// An entry for a person.
fn text(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    let label = if entry.sxid.is_some() { "SXid" } else { "Xid" };
    write!(out, "{label} {}  {}", entry.code, entry.mnemonic)?;
    if let Some(alias) = entry.alias {
        write!(out, " (also {alias})")?;
    }
    writeln!(out)?;
    let mut field = |name: &str, value: &str| writeln!(out, "  {name:<14} {value}");
    if let Some(meaning) = entry.meaning {
        field("meaning", meaning)?;
    }
    field("severity", &format!("{}: {}", entry.severity, because(entry.rule)))?;
    if let Some(class) = entry.sxid {
        field("class", &format!("{}: {}", class.name(), outcome(class)))?;
    }
    let catalogue = match entry.usage {
        Some("unused") => Some("has it as unused; drivers print some such all the same"),
        Some("header") => Some("does not have it; a driver's header does"),
        _ => None,
    };
    if let Some(catalogue) = catalogue {
        field("catalogue", catalogue)?;
    }
    if let Some(architectures) = &entry.architectures {
        field("occurs on", &architectures.join(", "))?;
    }
    match entry.xid154_since {
        Some("introduced") => field("with Xid 154", "which says what the GPU needs")?,
        Some(branch) => {
            field("with Xid 154", &format!("since driver {branch}; it says what the GPU needs"))?;
        }
        None => {}
    }
    if let Some(action) = &entry.immediate_action {
        action_text(action, "at once", &mut field)?;
    }
    match (&entry.immediate_action, &entry.investigatory_action) {
        (Some(first), Some(then)) if first.name == then.name => {
            field("look into", &format!("{}, as above", then.name))
        }
        (_, Some(action)) => action_text(action, "look into", &mut field),
        (_, None) => Ok(()),
    }
}

fn action_text(
    action: &ActionAnswer,
    label: &str,
    field: &mut impl FnMut(&str, &str) -> io::Result<()>,
) -> io::Result<()> {
    field(label, &format!("{}: {}", action.name, action.plain))?;
    for StepAnswer { when, then, action } in &action.steps {
        let action = action.map_or(String::new(), |action| format!(" ({action})"));
        field("", &format!("- {when}: {then}{action}"))?;
    }
    Ok(())
}

fn because(rule: SeverityRule) -> &'static str {
    match rule {
        SeverityRule::NvidiaAction => "follows from NVIDIA's action for at once",
        SeverityRule::NvidiaClass => "follows from NVIDIA's class",
        SeverityRule::Line => "as the line says",
        SeverityRule::Ours => "this project's judgement, since NVIDIA's catalogue gives no ground",
    }
}

fn outcome(class: SxidClass) -> &'static str {
    match class {
        SxidClass::NonFatal => "work goes on",
        SxidClass::PotentiallyFatal => {
            "ends the work that uses the port where the line says Fatal, which then asks for RESET_GPU"
        }
        SxidClass::AlwaysFatal => "the fabric has to be reset",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xid::catalogue;

    fn printed(codes: &[u32], output: Format) -> String {
        let mut out = Vec::new();
        print(&Args { codes: codes.to_vec(), output }, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_has_every_number_once() {
        let numbers = catalogue::entries().len() + catalogue::sxid_entries().len();
        assert_eq!(printed(&[], Format::Json).lines().count(), numbers);
        let text = printed(&[], Format::Text);
        assert_eq!(text.lines().count(), numbers + 1);
        assert!(text.lines().all(|line| line.len() <= 120), "{text}");
        for entry in all() {
            assert_eq!(Entry::of(entry.code).unwrap().mnemonic, entry.mnemonic, "{}", entry.code);
        }
    }

    #[test]
    fn a_number_is_explained_with_the_steps_of_its_workflow() {
        let text = printed(&[48], Format::Text);
        for part in [
            "Xid 48  ROBUST",
            "critical: follows from",
            "WORKFLOW_XID_48: ",
            "- it comes alone: Reset the GPU. (RESET_GPU)",
        ] {
            assert!(text.contains(part), "{part:?} in {text}");
        }
        assert!(printed(&[149], Format::Text).contains("since driver R565"));
        assert!(printed(&[1], Format::Text).contains("unused"));
        assert!(printed(&[173], Format::Text).contains("header"));
    }

    #[test]
    fn every_number_can_be_printed() {
        let codes: Vec<u32> = all().map(|entry| entry.code).collect();
        let text = printed(&codes, Format::Text);
        assert_eq!(text.matches("\n\n").count(), codes.len() - 1);
        assert!(!text.lines().any(|line| line.ends_with(' ')), "{text}");
    }

    #[test]
    fn a_switchs_number_is_told_by_its_class() {
        let text = printed(&[12020, 10001], Format::Text);
        assert!(text.starts_with("SXid 12020  ") && text.contains("RESET_FABRIC: "), "{text}");
        assert!(text.contains("potentially-fatal: ends the work"), "{text}");
    }
}
