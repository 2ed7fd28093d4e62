-- A member can be deleted for good: what they once made keeps their id, which leads to nobody any more.
ALTER TABLE upload DROP CONSTRAINT upload_account_id_created_by_fkey;
ALTER TABLE member_import DROP CONSTRAINT member_import_account_id_created_by_fkey;

-- The network address of an erased person is cut out of events about others, whose digest is that of the whole.
ALTER TABLE event_personal ADD COLUMN address_erased boolean NOT NULL DEFAULT false;
