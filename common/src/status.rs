//! The fixed set of status codes, three digits after HTTP's sense.
//!
//! | code | name | meaning | exit code |
//! |---|---|---|---|
//! | 200 | `Delivered` | done; a message is on the receiver's disk | 0 |
//! | 202 | `Accepted` | kept, not yet delivered | 0 |
//! | 400 | `Malformed` | the request cannot be understood | 40 |
//! | 401 | `NotLoggedIn` | no session, or one that has ended | 41 |
//! | 403 | `NotAllowed` | wrong secret, signature, or grant | 43 |
//! | 404 | `NotFound` | no such name, function or file | 44 |
//! | 408 | `TimedOut` | no answer in time | 48 |
//! | 409 | `Conflict` | the name or the session belongs to another | 49 |
//! | 410 | `Gone` | the peer is known, and not here | 50 |
//! | 413 | `TooLarge` | over a documented size | 53 |
//! | 421 | `AnotherKey` | the name has another key than the one that was relied on | 61 |
//! | 425 | `TooEarly` | others have to come first | 65 |
//! | 426 | `VersionNotSupported` | another version of the protocol | 66 |
//! | 429 | `SlowDown` | over a documented rate or quota | 69 |
//! | 500 | `Failed` | the far end tried and failed | 90 |
//! | 503 | `Unavailable` | no route, or no supernode | 93 |

use std::fmt;

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What became of a request
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Status { $($(#[$doc])* $name = $code,)* }

        impl Status {
            /// Every status, in the order of the codes
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The status with this code; `None` for a code outside the table
            pub const fn from_code(code: u16) -> Option<Self> {
                match code { $($code => Some(Self::$name),)* _ => None }
            }

            /// A few words for people
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

statuses! {
    /// Done; a message is on the receiver's disk
    Delivered = 200, "delivered";
    /// Kept, not yet delivered
    Accepted = 202, "accepted";
    /// The request cannot be understood
    Malformed = 400, "malformed";
    /// No session, or one that has ended
    NotLoggedIn = 401, "not logged in";
    /// Wrong secret, signature, or grant
    NotAllowed = 403, "not allowed";
    /// No such name, function or file
    NotFound = 404, "not found";
    /// No answer in time
    TimedOut = 408, "timed out";
    /// The name or the session belongs to another
    Conflict = 409, "conflict";
    /// The peer is known, and not here: it has logged out, or is not heard any more
    Gone = 410, "not here";
    /// Over a documented size
    TooLarge = 413, "too large";
    /// The name has another key than the one that was relied on
    AnotherKey = 421, "another key";
    /// Others have to come first
    TooEarly = 425, "too early";
    /// Another version of the protocol
    VersionNotSupported = 426, "version not supported";
    /// Over a documented rate or quota
    SlowDown = 429, "slow down";
    /// The far end tried and failed
    Failed = 500, "failed at the far end";
    /// No route, or no supernode
    Unavailable = 503, "unavailable";
}

impl Status {
    /// The three digits
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// Whether the request did what it asked for, now or later
    pub const fn is_success(self) -> bool {
        self.code() < 300
    }

    /// The exit code of a command that ended so: 0; 4xx → 40 + (code − 400); 5xx → 90 + (code − 500)
    pub const fn exit_code(self) -> u8 {
        match self.code() {
            code @ 400..500 => (code - 360) as u8,
            code @ 500..600 => (code - 410) as u8,
            _ => 0,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code(), self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_status_codes() {
        let codes: Vec<(u16, u8)> = Status::ALL.iter().map(|s| (s.code(), s.exit_code())).collect();
        let expected = [
            (200, 0),
            (202, 0),
            (400, 40),
            (401, 41),
            (403, 43),
            (404, 44),
            (408, 48),
            (409, 49),
            (410, 50),
            (413, 53),
            (421, 61),
            (425, 65),
            (426, 66),
            (429, 69),
            (500, 90),
            (503, 93),
        ];
        assert_eq!(codes, expected);
    }

    #[test]
    fn code_and_status_are_inverse() {
        for status in Status::ALL {
            assert_eq!(Status::from_code(status.code()), Some(*status));
        }
        assert_eq!(Status::from_code(418), None);
    }
}
