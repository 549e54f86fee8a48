//! The static Linux program that the helper carries: in every container of ours it is the agent, and in every host env the shim.

/// Under [`gpubay_protocol::agent::AGENT_NAME`] the agent, under any other name the shim.
pub const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gpubay-embedded"));

/// Names it by its contents, in 16 hexadecimal digits: for the folder it is delivered in.
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
    fn it_is_static_and_small() {
        assert!(PROGRAM.starts_with(b"\x7fELF\x02\x01"));
        assert!(!is_dynamic(PROGRAM));
        assert!(PROGRAM.len() < 4 << 20, "{} bytes", PROGRAM.len());
        assert_eq!(ID.len(), 16);
    }
}
