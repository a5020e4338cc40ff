//! Sets of small numbers, as NVML has them in bits and the kernel in ranges.

/// The numbers of the bits that are set, the lowest word first.
#[must_use]
pub fn bits(words: &[u64]) -> Vec<u32> {
    let of_word = |(at, word): (u32, &u64)| {
        let word = *word;
        (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * u64::BITS + bit)
    };
    (0..).zip(words).flat_map(of_word).collect()
}

/// `0-55,112-167` of the bits that are set. Empty where none is.
#[must_use]
pub fn ranges(words: &[u64]) -> String {
    let part = |run: &[u32]| match run {
        [first, .., last] => format!("{first}-{last}"),
        run => run.iter().map(ToString::to_string).collect(),
    };
    bits(words).chunk_by(|one, next| one + 1 == *next).map(part).collect::<Vec<_>>().join(",")
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
            (&[1 << 63, 0b1001, 0], "63-64,67"),
        ] {
            assert_eq!(ranges(words), text);
        }
    }
}
