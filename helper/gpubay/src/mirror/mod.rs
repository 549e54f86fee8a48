//! Host copies of the import roots outside the venv: scan, plan (pure), stage, apply.
