"""Programs written for other systems, run by Sardonyx: put `sardonyx.compat.` in front of their imports."""
