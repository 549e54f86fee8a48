//! What the command line says, word for word: exit code, stdout and stderr of each command and of its usual errors.
//! What differs from run to run is filtered. `UPDATE_EXPECT=1` writes what is said now; then read the difference.

#![expect(clippy::needless_raw_string_hashes, reason = "as expect-test writes them")]

mod a_day;
mod nothing_there;
mod said;
