"""The presence core: decides on PUBLISH and SUBSCRIBE, writes publications and dialogs; as `api` it answers REST."""
