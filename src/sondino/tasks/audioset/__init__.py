"""AudioSet: its metadata, copies of its clips on disk, subsets, and a polite download."""
