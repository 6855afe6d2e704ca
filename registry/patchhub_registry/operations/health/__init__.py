"""The parts of `patchhub doctor`: each looks at one thing and changes nothing."""
