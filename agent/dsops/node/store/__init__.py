"""The store of a node: blobs, releases, links, and the journal that says what they should be."""
