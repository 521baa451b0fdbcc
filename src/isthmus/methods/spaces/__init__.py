"""Maps that bring separately trained embedding spaces into one."""
