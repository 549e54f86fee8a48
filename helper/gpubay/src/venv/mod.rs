//! The venv inside the container and the host env that makes it look normal on the host.
