//! What a message says, decoded, on the wire: an object of what is known. Registers and addresses are strings like `0x7f00`,
//! counts numbers.

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap as _, SerializeSeq as _},
};

use crate::xid::{Details, Value};

#[derive(Debug, Clone, Copy)]
pub struct Decoded<'a>(pub Details<'a>);

impl Serialize for Decoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.0.fields() {
            map.serialize_entry(name, &Shown(value))?;
        }
        map.end()
    }
}

struct Shown<'a>(Value<'a>);

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Value::Number(number) => serializer.serialize_i64(*number),
            // JSON's numbers are exact to 53 bits only.
            Value::Hex(value) => serializer.collect_str(&format_args!("{value:#x}")),
            Value::Flag(flag) => serializer.serialize_bool(*flag),
            Value::Word(word) => serializer.serialize_str(word),
            Value::Text(text) => serializer.collect_str(text),
            Value::Pci(pci) => serializer.collect_str(pci),
            Value::Words(words) => {
                let mut list = serializer.serialize_seq(Some(words.len()))?;
                for word in words {
                    list.serialize_element(&format!("{word:#x}"))?;
                }
                list.end()
            }
        }
    }
}
