//! How GPUs get into a container: selection and injection.
