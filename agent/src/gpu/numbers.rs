//! Sets of small numbers, as NVML has them in bits and the kernel in ranges.

/// `0-55,112-167` of the bits that are set, the lowest word first. Empty where none is.
#[must_use]
pub fn ranges(words: &[u64]) -> String {
    let is_set =
        |number: usize| words.get(number / 64).is_some_and(|word| word >> (number % 64) & 1 == 1);
    let mut parts = Vec::new();
    let mut number = 0;
    while number < words.len() * 64 {
        if !is_set(number) {
            number += 1;
            continue;
        }
        let first = number;
        while is_set(number + 1) {
            number += 1;
        }
        parts.push(if first == number { first.to_string() } else { format!("{first}-{number}") });
        number += 1;
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_told_as_ranges() {
        for (words, text) in [
            (&[][..], ""),
            (&[0, 0], ""),
            (&[0b1], "0"),
            (&[0b1011_0101], "0,2,4-5,7"),
            (&[u64::MAX, 1], "0-64"),
            (&[1 << 63, 1 << 63], "63,127"),
        ] {
            assert_eq!(ranges(words), text);
        }
    }
}
