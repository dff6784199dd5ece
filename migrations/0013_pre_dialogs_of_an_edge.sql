-- The dialogs of an edge, found when it leaves or is gone: at a million dialogs each look at all of them took a second.
--
-- Claims and outcomes leave this column alone, so their updates stay HOT. Made while nobody writes to the table: a
-- second or two for a million rows.
CREATE INDEX delivery_edge ON delivery (edge_instance) WHERE edge_instance IS NOT NULL;
-- One edge may have most of the dialogs, and one that is gone none: no look at all of them finds that out.
ALTER FUNCTION rehome_dialogs_v1(text, text, text, int4, bool) SET enable_seqscan = off;
