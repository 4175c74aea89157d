//! Values that JSON has and Rust has not: absent beside null, time stamps of one precision, header texts.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An optional property that may also be null: absent leaves things as they are, null clears them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub enum Patch<T> {
    /// The property is not there.
    #[default]
    Absent,
    /// The property is null.
    Null,
    /// The property has a value.
    Value(T),
}

impl<T> Patch<T> {
    /// Whether the property is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Patch::Absent)
    }

    /// Absent, null or a value, as nested options.
    pub fn into_option(self) -> Option<Option<T>> {
        match self {
            Patch::Absent => None,
            Patch::Null => Some(None),
            Patch::Value(value) => Some(Some(value)),
        }
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Patch::Value(value) => Some(value),
            Patch::Absent | Patch::Null => None,
        }
    }
}

impl<T> From<T> for Patch<T> {
    fn from(value: T) -> Self {
        Patch::Value(value)
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Patch::Value(value) => serializer.serialize_some(value),
            // Absent properties are skipped by the struct they stand in.
            Patch::Absent | Patch::Null => serializer.serialize_none(),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Patch::Null, Patch::Value))
    }
}

/// A moment, written in UTC with seconds and `Z`: `2024-01-15T10:30:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub DateTime<Utc>);

impl From<DateTime<Utc>> for Timestamp {
    fn from(moment: DateTime<Utc>) -> Self {
        Timestamp(moment)
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(moment: Timestamp) -> Self {
        moment.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Secs, true))
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Timestamp(DateTime::parse_from_rfc3339(text)?.with_timezone(&Utc)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Timestamp;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a date-time (RFC 3339)")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Serde of a [`DateTime<Utc>`] property, written as [`Timestamp`] writes it.
pub mod moment {
    use super::*;

    /// See [`Timestamp`].
    pub fn serialize<S: Serializer>(moment: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
        Timestamp(*moment).serialize(serializer)
    }

    /// See [`Timestamp`].
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
        Ok(Timestamp::deserialize(deserializer)?.0)
    }

    /// The same for an optional or nullable property.
    pub mod option {
        use super::*;

        /// See [`Timestamp`].
        pub fn serialize<S: Serializer>(moment: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
            moment.map(Timestamp).serialize(serializer)
        }

        /// See [`Timestamp`].
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DateTime<Utc>>, D::Error> {
            Ok(Option::<Timestamp>::deserialize(deserializer)?.map(|moment| moment.0))
        }
    }

    /// The same for a property that may be absent or null.
    pub mod patch {
        use super::*;

        /// See [`Timestamp`].
        pub fn serialize<S: Serializer>(moment: &Patch<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
            match moment {
                Patch::Value(moment) => Timestamp(*moment).serialize(serializer),
                Patch::Absent | Patch::Null => serializer.serialize_none(),
            }
        }

        /// See [`Timestamp`].
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Patch<DateTime<Utc>>, D::Error> {
            Ok(match Patch::<Timestamp>::deserialize(deserializer)? {
                Patch::Value(moment) => Patch::Value(moment.0),
                Patch::Null => Patch::Null,
                Patch::Absent => Patch::Absent,
            })
        }
    }
}

/// The text of a header: proven to be one, so that an answer cannot fail while it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText(http::HeaderValue);

/// A text that no header can carry: it has a control character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header value must not contain control characters")]
pub struct InvalidHeaderText;

impl HeaderText {
    /// Proves the text.
    pub fn new(text: &str) -> Result<Self, InvalidHeaderText> {
        http::HeaderValue::from_str(text).map(HeaderText).map_err(|_| InvalidHeaderText)
    }

    /// A text that is known when the program is written.
    ///
    /// # Panics
    ///
    /// If it is not a header value.
    pub fn from_static(text: &'static str) -> Self {
        HeaderText(http::HeaderValue::from_static(text))
    }

    /// The text; empty if it is not UTF-8.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.0.as_bytes()).unwrap_or_default()
    }

    /// As the `http` crate has it.
    pub fn into_header_value(self) -> http::HeaderValue {
        self.0
    }
}

impl From<http::HeaderValue> for HeaderText {
    fn from(value: http::HeaderValue) -> Self {
        HeaderText(value)
    }
}

impl From<i64> for HeaderText {
    fn from(number: i64) -> Self {
        HeaderText(http::HeaderValue::from(number))
    }
}

impl From<bool> for HeaderText {
    fn from(truth: bool) -> Self {
        HeaderText::from_static(if truth { "true" } else { "false" })
    }
}

impl TryFrom<&str> for HeaderText {
    type Error = InvalidHeaderText;
    fn try_from(text: &str) -> Result<Self, Self::Error> {
        HeaderText::new(text)
    }
}

impl TryFrom<String> for HeaderText {
    type Error = InvalidHeaderText;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        HeaderText::new(&text)
    }
}

impl fmt::Display for HeaderText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for HeaderText {
    type Err = InvalidHeaderText;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        HeaderText::new(text)
    }
}

/// A text that is none of an enum's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of the documented values")]
pub struct UnknownValue;

/// An object whose tag decides what it is; for generated code.
#[doc(hidden)]
#[derive(Debug)]
pub struct Tagged<E> {
    value: serde_json::Value,
    name: &'static str,
    error: std::marker::PhantomData<E>,
}

impl<E: serde::de::Error> Tagged<E> {
    /// Reads the object.
    pub fn read_from<'de, D: Deserializer<'de, Error = E>>(deserializer: D, name: &'static str) -> Result<Self, E> {
        Ok(Tagged { value: Deserialize::deserialize(deserializer)?, name, error: std::marker::PhantomData })
    }

    /// Its tag.
    pub fn tag(&self) -> Option<&str> {
        self.value.get(self.name)?.as_str()
    }

    /// As the type that the tag stands for.
    pub fn read<T: serde::de::DeserializeOwned>(self) -> Result<T, E> {
        serde_json::from_value(self.value).map_err(E::custom)
    }

    /// The error of a tag that stands for nothing.
    pub fn unknown(&self) -> E {
        E::custom(format_args!("`{}` is not one of the documented values", self.name))
    }
}

/// An enum of documented texts: `Gpt4o = "gpt-4o"`.
#[macro_export]
macro_rules! texts {
    ($(#[$meta:meta])* pub enum $name:ident { $($variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, ::serde::Serialize, ::serde::Deserialize)]
        pub enum $name {
            $(#[doc = concat!("`", $text, "`")] #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in the order of the document.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As it is written.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::value::UnknownValue;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or($crate::value::UnknownValue)
            }
        }
    };
}
