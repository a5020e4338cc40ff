//! Finds where a few members of a few structures lie, in the kernel's type information (`/sys/kernel/btf/vmlinux`).
//!
//! The file has some megabytes and the answer some bytes, so it is read in small pieces of which nothing is kept: first
//! the names, its last part, then the types, which refer to names by their place; of both no more than it takes, and what
//! every kernel has stands near the beginning. A member of a nameless structure or union inside the wanted one counts as
//! the wanted one's own, as in C; each level of those takes one more reading. Of several structures of a name the first
//! is taken: the kernel's build leaves one of each that are alike.
//!
//! The format is the kernel's `Documentation/bpf/btf.rst`. What does not fit it is an error, never a guess.

use std::{
    collections::BTreeSet,
    fmt,
    io::{self, Read, Seek, SeekFrom},
};

/// Bytes read at a time.
const PIECE: usize = 16 << 10;
/// No kernel's type information comes near this.
const LONGEST: u32 = 64 << 20;
/// Wanted names are shorter.
const NAME: usize = 64;
/// How often the types are read at most.
const READINGS: usize = 4;

/// How many nameless structures are looked into at most; a kernel's have some dozens.
const NAMELESS: usize = 1000;

/// The magic number, the version and no flag, in this machine's byte order.
const MAGIC: u32 = 0x0001_eb9f;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_FUNCTION: u32 = 12;

/// What is wanted: of a structure or union the offset of a member, in bytes, or its own size where no member is named; of an
/// enumeration the value of a name.
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
pub fn find(mut file: impl Read + Seek, wanted: &[Wanted]) -> Result<Vec<Option<u32>>, Error> {
    let [types, names] = parts(&mut file)?;
    let members = wanted.iter().filter_map(|wanted| wanted.member);
    let all = wanted.iter().map(|wanted| wanted.of).chain(members).collect();
    let places = places(&mut Pieces::new(&mut file, names)?, all)?;
    let mut search = Search::new(wanted, |name| places.iter().find(|it| it.0 == name)?.1);
    for _ in 0..READINGS {
        search.read(&mut Pieces::new(&mut file, types)?)?;
        if search.looking.is_empty() {
            break;
        }
    }
    Ok(search.found)
}

/// The numbers that types of functions have, in the order of `names`; `None` where this kernel has no such function.
pub fn functions(mut file: impl Read + Seek, names: &[&str]) -> Result<Vec<Option<u32>>, Error> {
    let [types, strings] = parts(&mut file)?;
    let all = names.iter().copied().collect();
    let places = places(&mut Pieces::new(&mut file, strings)?, all)?;
    let mut found = vec![None; names.len()];
    let mut types = Pieces::new(&mut file, types)?;
    let mut this = 0;
    while !types.ended() {
        this += 1;
        let [name, info, _] = types.numbers()?;
        let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
        if kind == KIND_FUNCTION {
            let function = places.iter().find(|(_, place)| *place == Some(name));
            let at = function.and_then(|(name, _)| names.iter().position(|it| it == name));
            if let Some(at) = at {
                found[at].get_or_insert(this);
            }
        }
        types.skip(behind(kind, count)?)?;
    }
    Ok(found)
}

/// A file in which functions have the numbers that they have in the kernel's, and that has nothing else: for libraries that
/// would read all of the kernel's.
#[must_use]
pub fn of_functions(functions: &[(&str, u32)]) -> Vec<u8> {
    let mut names = vec![0];
    let mut types = Vec::new();
    let last = functions.iter().map(|(_, number)| *number).max().unwrap_or(0);
    for this in 1..=last {
        // A forward declaration of nothing stands for what is not there.
        let mut entry = [0, 7 << 24, 0];
        if let Some((name, _)) = functions.iter().find(|(_, number)| *number == this) {
            entry = [u32::try_from(names.len()).unwrap_or(0), KIND_FUNCTION << 24, 1];
            names.extend(name.bytes().chain([0]));
        }
        types.extend(entry.into_iter().flat_map(u32::to_ne_bytes));
    }
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let (types_length, names_length) = (length(&types), length(&names));
    let header = [MAGIC, 24, 0, types_length, types_length, names_length];
    let header = header.into_iter().flat_map(u32::to_ne_bytes);
    header.chain(types).chain(names).collect()
}

/// A part of the file: where it starts, and its length.
type Part = (u32, u32);

/// Where the types are, and their names.
fn parts(file: &mut impl Read) -> Result<[Part; 2], Error> {
    let mut bytes = [0; 24];
    file.read_exact(&mut bytes)?;
    let [magic, header, rest @ ..]: [u32; 6] = std::array::from_fn(|at| number(&bytes, at));
    if magic != MAGIC {
        return Err(Error::Malformed("another magic number, version or byte order"));
    }
    if header > LONGEST || rest.iter().any(|number| *number > LONGEST) {
        return Err(Error::Malformed("too long"));
    }
    let [types, types_length, names, names_length] = rest;
    Ok([(header + types, types_length), (header + names, names_length)])
}

/// The number at a place, counted in numbers.
fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.as_chunks().0.get(at).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
}

/// Reads a part piece by piece.
struct Pieces<F> {
    file: F,
    /// Bytes of the part that are not read yet.
    unread: usize,
    piece: Box<[u8]>,
    /// What of the piece is not taken yet.
    left: std::ops::Range<usize>,
}

impl<F: Read + Seek> Pieces<F> {
    fn new(mut file: F, (start, length): Part) -> io::Result<Self> {
        file.seek(SeekFrom::Start(start.into()))?;
        let unread = usize::try_from(length).unwrap_or(usize::MAX);
        Ok(Self { file, unread, piece: vec![0; PIECE].into(), left: 0..0 })
    }

    fn ended(&self) -> bool {
        self.left.is_empty() && self.unread == 0
    }

    /// The next numbers; every type begins with three, a member has three, and a value of an enumeration two.
    fn numbers<const N: usize>(&mut self) -> Result<[u32; N], Error> {
        while self.left.len() < N * 4 {
            self.read_on()?;
        }
        let bytes = &self.piece[self.left.start..];
        self.left.start += N * 4;
        Ok(std::array::from_fn(|at| number(bytes, at)))
    }

    fn skip(&mut self, length: u32) -> Result<(), Error> {
        let mut length = usize::try_from(length).unwrap_or(usize::MAX);
        loop {
            let here = self.left.len().min(length);
            self.left.start += here;
            length -= here;
            if length == 0 {
                return Ok(());
            }
            self.read_on()?;
        }
    }

    /// Moves what is left to the front and fills up behind it.
    fn read_on(&mut self) -> Result<(), Error> {
        self.piece.copy_within(self.left.clone(), 0);
        let kept = self.left.len();
        let room = self.piece.len().min(kept + self.unread);
        let read = self.file.read(&mut self.piece[kept..room])?;
        if read == 0 {
            return Err(Error::Malformed("ends in the middle of a type or of a name"));
        }
        self.unread -= read;
        self.left = 0..kept + read;
        Ok(())
    }
}

/// The place of each of `names` in the part that has the names.
fn places<'n>(
    file: &mut Pieces<impl Read + Seek>,
    names: BTreeSet<&'n str>,
) -> Result<Vec<(&'n str, Option<u32>)>, Error> {
    // Most names of the kernel have a length that no wanted one has.
    let lengths = names.iter().fold(0u64, |lengths, name| lengths | 1 << (name.len() % NAME));
    let mut places: Vec<_> = names.into_iter().map(|name| (name, None)).collect();
    let mut place = 0;
    while places.iter().any(|(_, found)| found.is_none()) {
        let piece = &file.piece[file.left.clone()];
        if let Some(length) = piece.iter().position(|byte| *byte == 0) {
            let name = &piece[..length];
            if length < NAME && lengths & 1 << length != 0 {
                let wanted = places.iter_mut().find(|(wanted, _)| wanted.as_bytes() == name);
                if let Some((_, found)) = wanted {
                    found.get_or_insert(place);
                }
            }
            file.left.start += length + 1;
            place += u32::try_from(length + 1).unwrap_or(u32::MAX);
        } else if file.unread > 0 {
            file.read_on()?;
        } else {
            break;
        }
    }
    Ok(places)
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
    /// The structure or enumeration whose name has this place.
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

    /// Reads the types until each structure that is looked for was there. What the next reading has to look at is in
    /// `looking` then.
    fn read(&mut self, types: &mut Pieces<impl Read + Seek>) -> Result<(), Error> {
        let mut looking = std::mem::take(&mut self.looking);
        let mut this = 0;
        while !looking.is_empty() && !types.ended() {
            this += 1;
            let [name, info, size] = types.numbers()?;
            let (kind, count) = (info >> 24 & 0x1f, info & 0xffff);
            let is_here = |look: &mut Look| {
                matches!(kind, KIND_STRUCT | KIND_UNION | KIND_ENUM)
                    && match look.at {
                        At::Name(place) => place == name,
                        At::Type(number) => number == this,
                    }
            };
            let here: Vec<Look> = looking.extract_if(.., is_here).collect();
            if here.is_empty() {
                types.skip(behind(kind, count)?)?;
                continue;
            }
            for look in here.iter().filter(|look| self.wanted[look.wanted].member.is_none()) {
                self.found[look.wanted] = Some(size);
            }
            if kind == KIND_ENUM {
                for _ in 0..count {
                    let [name, value] = types.numbers()?;
                    for look in here.iter().filter(|it| self.members[it.wanted] == Some(name)) {
                        self.found[look.wanted] = Some(value);
                    }
                }
                continue;
            }
            for _ in 0..count {
                let [name, kind, bits] = types.numbers()?;
                // With this flag the upper byte is the width of a bit field.
                let bits = if info >> 31 == 1 { bits & 0x00ff_ffff } else { bits };
                for look in &here {
                    let begins = look.begins.saturating_add(bits);
                    if name == 0 {
                        self.looking.push(Look { wanted: look.wanted, at: At::Type(kind), begins });
                    } else if self.members[look.wanted] == Some(name) {
                        self.found[look.wanted] = Some(begins / 8);
                    }
                }
                if self.looking.len() > NAMELESS {
                    return Err(Error::Malformed("has too many nameless structures"));
                }
            }
        }
        self.looking.retain(|look| self.found[look.wanted].is_none());
        Ok(())
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
        KIND_ENUM | 13 => 8 * count,
        // Structure, union, section, enumeration of 64 bits.
        KIND_STRUCT | KIND_UNION | 15 | 19 => 12 * count,
        _ => return Err(Error::Malformed("a kind of type that this agent does not know")),
    })
}

#[cfg(test)]
#[path = "btf_test.rs"]
mod tests;
