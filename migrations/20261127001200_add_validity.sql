-- From when until when somebody is a member: civil dates in the account's time zone, both included.
ALTER TABLE member
    ADD COLUMN valid_from date,
    ADD COLUMN valid_until date,
    -- The end that a notice was sent for.
    ADD COLUMN validity_notice_for date,
    ADD CONSTRAINT member_validity CHECK (valid_from <= valid_until);
CREATE INDEX member_by_end ON member (valid_until, account_id) WHERE valid_until IS NOT NULL AND status IN ('ACTIVE', 'SUSPENDED');
