"""The Microsoft 365 audit trail: the Management Activity API, its content blobs and the events in them."""
