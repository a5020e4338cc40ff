//! Finds where a few members of a few structures lie, in the kernel's type information (`/sys/kernel/btf/vmlinux`).
//!
//! The file has some megabytes and the answer some bytes, so it is read in small pieces of which nothing is kept: first
//! the names, its last part, then the types, which refer to names by their place. A member of a nameless structure
//! or union inside the wanted one counts as the wanted one's own, as in C; each level of those takes one more reading.
//!
//! The format is the kernel's `Documentation/bpf/btf.rst`. What does not fit it is an error, never a guess.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take},
};

/// What sysfs gives at a time.
const PIECE: usize = 4096;
/// No kernel's type information comes near this.
const LONGEST: u32 = 64 << 20;
/// Wanted names are shorter.
const NAME: usize = 64;
/// How often the types are read at most.
const READINGS: usize = 4;

/// How many nameless structures are looked into at most; a kernel's have some dozens.
const NAMELESS: usize = 1000;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

/// What is wanted of a structure or union: the offset of a member, in bytes, or its own size where no member is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub of: &'static str,
    pub member: Option<&'static str>,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("is not in its format: {0}")]
    Malformed(&'static str),
    #[error("has several {0} that differ")]
    Ambiguous(Wanted),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.member {
            Some(member) => write!(f, "{}.{member}", self.of),
            None => f.write_str(self.of),
        }
    }
}

/// Finds each of `wanted`, in that order; `None` where this kernel has none.
pub fn find(file: impl Read + Seek, wanted: &[Wanted]) -> Result<Vec<Option<u32>>, Error> {
    let mut file = BufReader::with_capacity(PIECE, file);
    let header = Header::read(&mut file)?;
    let mut names = header.names.open(&mut file)?;
    let members = wanted.iter().filter_map(|wanted| wanted.member);
    let places =
        places(&mut names, wanted.iter().map(|wanted| wanted.of).chain(members).collect())?;
    let mut search = Search::new(wanted, |name| places.iter().find(|it| it.0 == name)?.1);
    for _ in 0..READINGS {
        search.read(&mut header.types.open(&mut file)?)?;
        if search.looking.is_empty() {
            break;
        }
    }
    Ok(search.found)
}

/// A part of the file.
struct Part {
    start: u32,
    length: u32,
}

impl Part {
    fn open<'f, F: Read + Seek>(
        &self,
        file: &'f mut BufReader<F>,
    ) -> io::Result<Take<&'f mut BufReader<F>>> {
        file.seek(SeekFrom::Start(self.start.into()))?;
        Ok(file.by_ref().take(self.length.into()))
    }
}

struct Header {
    types: Part,
    names: Part,
}

impl Header {
    fn read(file: &mut impl Read) -> Result<Self, Error> {
        // The magic number, the version and no flag, in this machine's byte order.
        if number(file)? != 0x0001_eb9f {
            return Err(Error::Malformed("another magic number, version or byte order"));
        }
        let header = number(file)?;
        let mut part = || {
            let (start, length) = (number(file)?, number(file)?);
            if header > LONGEST || start > LONGEST || length > LONGEST {
                return Err(Error::Malformed("too long"));
            }
            Ok(Part { start: header + start, length })
        };
        Ok(Self { types: part()?, names: part()? })
    }
}

fn number(file: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

/// The place of each of `names` in the part that has the names.
fn places<'n>(
    file: &mut impl BufRead,
    names: Vec<&'n str>,
) -> Result<Vec<(&'n str, Option<u32>)>, Error> {
    // Most names of the kernel have a length that no wanted one has.
    let lengths = names.iter().fold(0u64, |lengths, name| lengths | 1 << (name.len() % NAME));
    let mut places: Vec<_> = names.into_iter().map(|name| (name, None)).collect();
    let mut take = |place: u32, name: &[u8]| {
        if name.len() < NAME && lengths & 1 << name.len() != 0 {
            for (wanted, found) in &mut places {
                if wanted.as_bytes() == name {
                    found.get_or_insert(place);
                }
            }
        }
    };
    let (mut place, mut at) = (0, 0);
    let mut name = [0; NAME];
    let mut length = 0;
    loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            return Ok(places);
        }
        for byte in piece {
            at += 1;
            if *byte != 0 {
                if let Some(room) = name.get_mut(length) {
                    *room = *byte;
                }
                length += 1;
                continue;
            }
            if length < NAME {
                take(place, &name[..length]);
            }
            (place, length) = (at, 0);
        }
        let used = piece.len();
        file.consume(used);
    }
}

/// What is found so far, and what has to be looked at.
struct Search<'w> {
    wanted: &'w [Wanted],
    /// The place of each wanted member's name.
    members: Vec<Option<u32>>,
    found: Vec<Option<u32>>,
    looking: Vec<Look>,
}

/// A structure in which something wanted may be.
struct Look {
    wanted: usize,
    at: At,
    /// Where it begins in the structure that was named, in bits.
    begins: u32,
}

#[derive(PartialEq, Eq)]
enum At {
    /// The structure whose name has this place.
    Name(u32),
    /// The type of this number, which has no name.
    Type(u32),
}

impl<'w> Search<'w> {
    fn new(wanted: &'w [Wanted], place: impl Fn(&str) -> Option<u32>) -> Self {
        let look = |(index, wanted): (usize, &Wanted)| {
            Some(Look { wanted: index, at: At::Name(place(wanted.of)?), begins: 0 })
        };
        Self {
            wanted,
            members: wanted.iter().map(|wanted| place(wanted.member?)).collect(),
            found: vec![None; wanted.len()],
            looking: wanted.iter().enumerate().filter_map(look).collect(),
        }
    }

    /// Reads all types once. What the next reading has to look at is in `looking` then.
    fn read(&mut self, types: &mut impl BufRead) -> Result<(), Error> {
        let looking = std::mem::take(&mut self.looking);
        let mut number_of_type = 0;
        while !types.fill_buf()?.is_empty() {
            number_of_type += 1;
            let (name, info, size) = (number(types)?, number(types)?, number(types)?);
            let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
            if !matches!(kind, KIND_STRUCT | KIND_UNION) {
                skip(types, behind(kind, count)?)?;
                continue;
            }
            let here = |look: &&Look| match look.at {
                At::Name(place) => place == name,
                At::Type(number) => number == number_of_type,
            };
            if !looking.iter().any(|look| here(&look)) {
                skip(types, behind(kind, count)?)?;
                continue;
            }
            for look in looking.iter().filter(here) {
                if self.wanted[look.wanted].member.is_none() {
                    self.set(look.wanted, size)?;
                }
            }
            for _ in 0..count {
                let (name, kind, bits) = (number(types)?, number(types)?, number(types)?);
                // With this flag the upper byte is the width of a bit field.
                let bits = if info >> 31 == 1 { bits & 0x00ff_ffff } else { bits };
                for look in looking.iter().filter(here) {
                    let begins = look.begins.saturating_add(bits);
                    if name == 0 {
                        self.looking.push(Look { wanted: look.wanted, at: At::Type(kind), begins });
                    } else if self.members[look.wanted] == Some(name) {
                        self.set(look.wanted, begins / 8)?;
                    }
                }
            }
        }
        self.looking.retain(|look| self.found[look.wanted].is_none());
        if self.looking.len() > NAMELESS {
            return Err(Error::Malformed("too many nameless structures"));
        }
        Ok(())
    }

    fn set(&mut self, wanted: usize, value: u32) -> Result<(), Error> {
        match self.found[wanted].replace(value) {
            Some(before) if before != value => Err(Error::Ambiguous(self.wanted[wanted])),
            _ => Ok(()),
        }
    }
}

/// How many bytes follow the twelve that every type begins with.
fn behind(kind: u32, count: u32) -> Result<u32, Error> {
    Ok(match kind {
        // Pointer, forward declaration, typedef, volatile, const, restrict, function, float, type tag.
        2 | 7..=12 | 16 | 18 => 0,
        // Integer, variable, declaration tag.
        1 | 14 | 17 => 4,
        // Array.
        3 => 12,
        // Enumeration, function's prototype.
        6 | 13 => 8 * count,
        // Structure, union, section, enumeration of 64 bits.
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count,
        _ => return Err(Error::Malformed("a kind of type that this agent does not know")),
    })
}

fn skip(file: &mut impl BufRead, length: u32) -> Result<(), Error> {
    let mut left = usize::try_from(length).unwrap_or(usize::MAX);
    while left > 0 {
        let here = file.fill_buf()?.len().min(left);
        if here == 0 {
            return Err(Error::Malformed("ends in the middle of a type"));
        }
        file.consume(here);
        left -= here;
    }
    Ok(())
}

#[cfg(test)]
#[path = "btf_test.rs"]
mod tests;
