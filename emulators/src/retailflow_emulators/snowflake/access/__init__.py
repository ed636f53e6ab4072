"""Who may do what: users, roles, warehouses and grants, kept beside the databases and enforced.

``model`` holds what there is, ``login`` lets users in, ``needs`` reads from a statement what it needs, ``guard`` decides
whether a session has it and records what a statement made, ``commands`` and ``granting`` run statements about principals,
``showing`` answers SHOW and DESCRIBE, ``visibility`` hides what a role may not see, ``metering`` counts credits.
"""
