//! What limits the verdict: figures that NVML failed to tell, as opposed to those that a board does not have.

use std::collections::BTreeMap;

use crate::gpu::health::Vitals;

/// One line for each thing that could not be read, whichever GPUs it is of. A lost GPU is a finding already, and so is one that
/// tells nothing.
#[derive(Debug, Default)]
pub struct Unread(BTreeMap<String, Vec<u32>>);

impl Unread {
    pub fn note(&mut self, index: u32, vitals: &Vitals) {
        let failed: Vec<_> = vitals.absent.iter().filter(|absent| !absent.by_design).collect();
        let Some(first) = failed.first() else { return };
        if vitals.said.lost || vitals.said.answered == 0 {
            return;
        }
        let mut fields: Vec<_> = failed.iter().map(|absent| absent.field).collect();
        fields.dedup();
        let what = format!(
            "could not be read, so not judged: {} ({}: {})",
            fields.join(", "),
            first.call,
            first.reason
        );
        self.0.entry(what).or_default().push(index);
    }

    pub fn lines(self) -> impl Iterator<Item = String> {
        self.0.into_iter().map(|(what, gpus)| {
            let gpus: Vec<_> = gpus.iter().map(u32::to_string).collect();
            format!("GPU {}: {what}.", gpus.join(", "))
        })
    }
}
