-- Finds whoever is here under another spelling of an address, or the same name at another domain, for the diagnosis of sign-in.
CREATE INDEX member_by_mailbox_name ON member
    (account_id, (regexp_replace(split_part(split_part(email, '@', 1), '+', 1), '[._-]', '', 'g')));
