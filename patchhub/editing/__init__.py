"""What editing methods share: the Editor and what runs it; below it, by subject.

`wording` (tokens, templates, prompts), `passes` (forward passes traced, cut, shared), `targets`,
`statistics` (moments of keys), `keyvalue` (keys and closed forms), `joint` (all of them in one
solve), `training` (edits by gradient) and `neurons`.
"""
