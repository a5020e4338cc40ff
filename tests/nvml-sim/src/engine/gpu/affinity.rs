//! Which of the node's CPUs and memories are near a GPU.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::engine::reading::Reading;

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Affinity {
    pub cpus: Reading<Numbers>,
    /// NUMA nodes of the host.
    pub memory_nodes: Reading<Numbers>,
}

/// In TOML as the kernel writes it: "0-55,112-167".
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(try_from = "String")]
pub struct Numbers(BTreeSet<u32>);

/// More than any machine has.
const MOST: u32 = 1 << 16;

impl TryFrom<String> for Numbers {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a list such as 0-55,112-167");
        let mut numbers = BTreeSet::new();
        for range in text.split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) =
                (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
            if first > last || last >= MOST {
                return Err(wrong());
            }
            numbers.extend(first..=last);
        }
        Ok(Self(numbers))
    }
}

impl Numbers {
    /// The word of the bit set that begins with bit `64 * index`.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        let begin = u32::try_from(index * 64).unwrap_or(u32::MAX);
        self.0.range(begin..begin.saturating_add(64)).fold(0, |word, bit| word | 1 << (bit - begin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_a_bit_set() {
        let numbers = Numbers::try_from("0-1,63-64,130".to_owned()).unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| numbers.word(index)), [1 << 63 | 3, 1, 4, 0]);
        for wrong in ["", "1-", "3-1", "a", "0-70000"] {
            assert!(Numbers::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
