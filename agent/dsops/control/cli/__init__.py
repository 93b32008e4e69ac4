"""The verbs of `dsops`, one file each: parse, call one function, show what came back."""
