//! The static Linux programs that the helper carries.

/// Goes into every container of ours.
pub const AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gpubay-agent"));

/// Goes into every host env.
pub const SHIM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gpubay-shim"));

/// Names this pair by its contents, in 16 hexadecimal digits: for the folder it is delivered in.
pub const ID: &str = env!("GPUBAY_EMBEDDED_ID");

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether an ELF file asks for a dynamic linker: a program header of type `PT_INTERP`.
    fn is_dynamic(elf: &[u8]) -> bool {
        let number = |at: usize, bytes: usize| {
            elf[at..at + bytes].iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
        };
        let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        (0..count).any(|index| number(table + index * size, 4) == 3)
    }

    #[test]
    fn both_programs_are_static_and_small() {
        for program in [AGENT, SHIM] {
            assert!(program.starts_with(b"\x7fELF\x02\x01"));
            assert!(!is_dynamic(program));
            assert!(program.len() < 4 << 20, "{} bytes", program.len());
        }
        assert_eq!(ID.len(), 16);
    }
}
