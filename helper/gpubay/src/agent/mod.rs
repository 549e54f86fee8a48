//! The helper's end of the conversation with the agent inside a container.
