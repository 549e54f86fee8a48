//! The real agent as an ordinary process, and the helper's real client.

mod agent_tests;
