"""XML documents: reading them safely, checking, composing. Pure."""
