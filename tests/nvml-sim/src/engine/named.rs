//! NVML's enumerations by name: what a scenario writes as a word and the ABI hands out as a number.

/// Declares a type whose TOML form is one of a fixed set of words and whose value is the NVML number of that word.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident: $number:ty { $($word:literal = $value:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name($number);

        impl $name {
            const WORDS: &[(&str, $number)] = &[$(($word, $value)),*];

            #[must_use]
            pub fn number(self) -> $number {
                self.0
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(deserializer)?;
                match Self::WORDS.iter().find(|(known, _)| *known == word) {
                    Some((_, number)) => Ok(Self(*number)),
                    None => {
                        let known: Vec<_> = Self::WORDS.iter().map(|(known, _)| *known).collect();
                        Err(serde::de::Error::custom(format!("{word:?} is none of: {}", known.join(", "))))
                    }
                }
            }
        }
    };
}
