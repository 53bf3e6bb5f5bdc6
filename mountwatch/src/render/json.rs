//! JSON values whose keys keep their order.

use super::{Cell, text};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use std::borrow::Cow;

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    Number(u64),
    Signed(i64),
    Text(String),
    List(Vec<Json>),
    Object(Object),
}

/// An object whose keys come out in the order in which they were put in.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Vec<(Cow<'static, str>, Json)>);

impl Object {
    pub(super) fn put(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Json>) {
        self.0.push((key.into(), value.into()));
    }

    /// Bytes as text; where that loses something, the exact bytes as well, as `…_hex`.
    pub(super) fn put_bytes(&mut self, key: impl Into<Cow<'static, str>>, bytes: Option<&[u8]>) {
        let key = key.into();
        let Some(bytes) = bytes else {
            self.put(key, Json::Null);
            return;
        };
        let text = String::from_utf8_lossy(bytes);
        let hex = matches!(text, Cow::Owned(_)).then(|| (format!("{key}_hex"), text::hex(bytes)));
        self.put(key, text.into_owned());
        if let Some((key, hex)) = hex {
            self.put(key, hex);
        }
    }

    /// The value of a column.
    pub(super) fn put_cell(&mut self, key: String, cell: Cell) {
        match cell {
            Cell::None => self.put(key, Json::Null),
            Cell::Text(bytes) => self.put_bytes(key, Some(&bytes)),
            Cell::Number(number) => self.put(key, number),
            Cell::Flag(flag) => self.put(key, flag),
        }
    }

    /// One line, without its end.
    pub(super) fn line(&self) -> String {
        // Nothing in it can fail: its keys are text, and its writer is memory.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Several lines, with the end of the last one.
    pub(super) fn lines(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(list) => {
                let mut seq = serializer.serialize_seq(Some(list.len()))?;
                for value in list {
                    seq.serialize_element(value)?;
                }
                seq.end()
            }
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

impl From<bool> for Json {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Json {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Json {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order_and_bytes_are_exact() {
        let mut object = Object::default();
        object.put("z", 1_u64);
        object.put("a", None::<u64>);
        object.put_bytes("path", Some(b"/\"\n\x01"));
        object.put_bytes("odd", Some(b"/\xff"));
        object.put_bytes("none", None);
        object.put("list", vec!["x"]);
        insta::assert_snapshot!(object.line(), @r#"
        {"z":1,"a":null,"path":"/\"\n\u0001","odd":"/�","odd_hex":"2fff","none":null,"list":["x"]}
        "#);
    }
}
