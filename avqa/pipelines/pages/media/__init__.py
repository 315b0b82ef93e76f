"""What pages show of the videos' own files."""
