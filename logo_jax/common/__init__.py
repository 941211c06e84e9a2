"""What every room may use: errors, progress, atomic files, the device mesh, versions."""
