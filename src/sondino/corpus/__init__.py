"""From a folder of sound to what training reads: the clip table, decoded clips, a teacher's targets, clusters."""
