//! Mount options can hold secrets: the values of known keys are hidden.

/// What stands where a secret was. It is what the kernel itself shows for those of Ceph.
pub(super) const HIDDEN: &[u8] = b"<hidden>";

/// Keys whose value is a secret, alone or as the last word of a longer key (`auth_token`).
const SECRET_KEYS: &[&[u8]] = &[
    b"password",
    b"password2",
    b"passwd",
    b"pass",
    b"passphrase",
    b"credentials",
    b"cred",
    b"secret",
    b"token",
    b"key",
];

/// Whether secrets are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Values of known keys become `<hidden>`.
    Hidden,
    /// Everything is shown as it is.
    Shown,
}

impl Secrets {
    /// The options of a super block. A value in double quotes may contain commas.
    pub fn options(self, options: &[u8]) -> Vec<u8> {
        self.values(options, b",")
    }

    /// A source: its options, if it has any, and the password of a URL.
    pub fn source(self, source: &[u8]) -> Vec<u8> {
        if self == Self::Shown {
            return source.to_vec();
        }
        hide_url_password(self.values(source, b",;?& "))
    }

    /// The value of an option whose key stands elsewhere: `None` if it is a secret.
    pub fn value(self, key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        (self == Self::Shown || !is_secret(key)).then(|| value.to_vec())
    }

    fn values(self, text: &[u8], separators: &[u8]) -> Vec<u8> {
        if self == Self::Shown {
            return text.to_vec();
        }
        let mut out = Vec::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let (item, tail) = rest.split_at(item_end(rest, separators));
            match item.iter().position(|byte| *byte == b'=') {
                Some(at) if is_secret(item.get(..at).unwrap_or_default()) => {
                    out.extend_from_slice(item.get(..=at).unwrap_or_default());
                    out.extend_from_slice(HIDDEN);
                }
                _ => out.extend_from_slice(item),
            }
            if let Some((separator, tail)) = tail.split_first() {
                out.push(*separator);
                rest = tail;
            } else {
                rest = tail;
            }
        }
        out
    }
}

/// Where the first item ends: at a separator that is not inside double quotes. A quote that is
/// never closed quotes nothing.
fn item_end(text: &[u8], separators: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if separators.contains(byte) {
            return at;
        }
        let is_open = *byte == b'"' && at > 0 && text.get(at - 1) == Some(&b'=');
        let close =
            is_open.then(|| text.get(at + 1..)?.iter().position(|byte| *byte == b'"')).flatten();
        at += close.map_or(1, |length| length + 2);
    }
    text.len()
}

fn is_secret(key: &[u8]) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|secret| {
        key.strip_suffix(*secret)
            .is_some_and(|before| before.last().is_none_or(|byte| b"_-.".contains(byte)))
    })
}

/// `scheme://user:password@host` without the password.
fn hide_url_password(source: Vec<u8>) -> Vec<u8> {
    let hidden = || {
        let start = source.windows(3).position(|three| three == b"://")? + 3;
        let rest = source.get(start..)?;
        let end = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let at = rest.get(..end)?.iter().rposition(|byte| *byte == b'@')?;
        let colon = rest.get(..at)?.iter().position(|byte| *byte == b':')?;
        let (before, after) = (source.get(..=start + colon)?, source.get(start + at..)?);
        Some([before, HIDDEN, after].concat())
    };
    hidden().unwrap_or(source)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str, expected: &str) {
        let hidden = Secrets::Hidden.options(options.as_bytes());
        assert_eq!(String::from_utf8(hidden).unwrap(), expected);
        assert_eq!(Secrets::Shown.options(options.as_bytes()), options.as_bytes());
    }

    #[test]
    fn values_of_known_keys_are_hidden() {
        check("rw,username=me,password=x,vers=3.0", "rw,username=me,password=<hidden>,vers=3.0");
        check("PASS=a=b", "PASS=<hidden>");
        check("credentials=/etc/cred,a", "credentials=<hidden>,a");
        check(
            "auth_token=1,secret-key=2,ssh.key=3",
            "auth_token=<hidden>,secret-key=<hidden>,ssh.key=<hidden>",
        );
        check("pass=\"a,b\",c", "pass=<hidden>,c");
        check("pass=\"a,b", "pass=<hidden>,b");
    }

    #[test]
    fn everything_else_stays() {
        for options in [
            "",
            ",",
            "a,,b,",
            "size=4k,mode=755",
            "monkey=1",
            "key",
            "bypass=1",
            "sec=sys",
            "context=\"system_u:object_r:a:s0:c1,c2\",x",
            "lowerdir=/a:/b,upperdir=/c\\054d",
        ] {
            check(options, options);
        }
    }

    #[test]
    fn sources_hide_theirs() {
        let check = |source: &str, expected: &str| {
            let hidden = Secrets::Hidden.source(source.as_bytes());
            assert_eq!(String::from_utf8(hidden).unwrap(), expected);
        };
        check("https://me:p@ss@host/dir:a@b", "https://me:<hidden>@host/dir:a@b");
        check("https://host:80/a@b", "https://host:80/a@b");
        check("//host/share?user=a&password=b", "//host/share?user=a&password=<hidden>");
        check("/dev/mapper/key=1", "/dev/mapper/key=1");
        check("ssh://me@host", "ssh://me@host");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_fine(bytes: Vec<u8>) {
            let _ = Secrets::Hidden.source(&bytes);
            let hidden = Secrets::Hidden.options(&bytes);
            proptest::prop_assert_eq!(Secrets::Hidden.options(&hidden), hidden.clone());
        }
    }
}
